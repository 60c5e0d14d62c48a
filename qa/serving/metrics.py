"""The figures that Prometheus reads."""

import time
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Counters:
    """Counters of one service."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("qa_requests", "Requests that ended", ["path", "status"], registry=registry)
        histogram = partial(Histogram, registry=registry)
        self.seconds = histogram(
            "qa_request_seconds", "From the headers to the end of the response", ["path"], buckets=SECONDS
        )
        self.questions = Counter("qa_questions", "Questions that were answered", registry=registry)
        self.windows = Counter("qa_windows", "Windows that the model computed", registry=registry)
        self.model_seconds = Counter(
            "qa_model_seconds", "Seconds in which requests were computed, of all threads together", registry=registry
        )
        self.group = histogram(
            "qa_group_questions", "Questions that were answered together", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
        )
        loop = Gauge("qa_loop_seconds", "CPU seconds of the event loop, which serves everybody", registry=registry)
        loop.set_function(time.thread_time)  # asked by the loop's own thread
        self.waiting = Gauge("qa_waiting_questions", "Questions that were accepted and not answered", registry=registry)
