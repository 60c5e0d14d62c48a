"""The model's threads: a GPU's answers requests together, each of a CPU's one by one; long texts batch by batch."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from qa.answering.answer import Answer
from qa.answering.answerer import QuestionAnswerer
from qa.answering.options import Options
from qa.answering.work import Ask, Work
from qa.errors import UserError
from qa.serving.limits import Limits, Refused, busy
from qa.serving.metrics import Counters

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.008  # seconds that a request waits for others
GROUP_QUESTIONS, GROUP_CHARACTERS = 64, 64_000  # questions that are answered together, and characters of their texts
LONG_REQUEST = 20_000  # characters; a request with more is answered alone on a GPU, too
SHARED_TURNS = 100  # windows; a group with more is answered in turns with others, a batch at a time


@dataclass(eq=False)
class RequestJob:
    """The questions of one request."""

    asks: list[Ask]
    languages: list[str | None]
    options: Options
    answerer: QuestionAnswerer
    progress: Callable[[Work], None] | None = None  # called after each batch, in a model's thread
    result: Future[list[Answer]] = field(default_factory=Future)  # cancelled where no client waits for it any more
    arrived: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.text = sum(len(text) for ask in self.asks for text in ask.contexts)  # characters

    @property
    def is_alone(self) -> bool:
        """Whether it is answered alone: each one is where no windows are computed together."""
        return not self.answerer.batch_tokens or self.text > LONG_REQUEST

    def goes_with(self, other: "RequestJob") -> bool:
        """Whether it can be answered together with a job that is not answered alone."""
        alike = self.options == other.options and self.answerer.answering == other.answerer.answering
        return alike and not self.is_alone


class Group(NamedTuple):
    """Jobs that are answered together."""

    jobs: Sequence[RequestJob]
    work: Work


class Batcher:
    """The threads that answer, and the jobs that wait for them."""

    def __init__(self, limits: Limits, metrics: Counters, threads: int) -> None:
        self.limits, self.metrics = limits, metrics
        self._waiting: deque[RequestJob] = deque()
        self._questions = 0  # accepted and not answered
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name="model", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its threads run."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def is_ready(self) -> bool:
        """Whether it would accept a question."""
        return self.is_alive and not self._closed and self._questions < self.limits.waiting

    def submit(self, job: RequestJob) -> None:
        """Accepts a job. Errors: Refused where too much waits."""
        with self._changed:
            if self._closed:
                raise busy("the service is stopping")
            if self._questions + len(job.asks) > self.limits.waiting:
                raise busy(f"{self._questions} questions wait, and at most {self.limits.waiting} may")
            self._count(len(job.asks))
            self._waiting.append(job)
            self._changed.notify()

    def drop(self, job: RequestJob) -> None:
        """Frees the place of a job that no client waits for any more."""
        with self._changed:
            job.result.cancel()
            if job in self._waiting:
                self._waiting.remove(job)
                self._count(-len(job.asks))

    def close(self) -> None:
        """Accepts no more jobs, and waits until the accepted ones are answered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _count(self, questions: int) -> None:
        self._questions += questions
        self.metrics.waiting.set(self._questions)

    def _run(self) -> None:
        """Answers new jobs, between them a batch of one of the groups that take long, until the service is closed."""
        long: deque[Group] = deque()
        while (jobs := self._take(wait=not long)) or long:
            for group in self._start(jobs):
                if group.work.windows > SHARED_TURNS:
                    long.append(group)
                else:
                    while self._step(group):
                        pass
            if long:
                long.rotate(-1)
                if not self._step(long[-1]):
                    long.pop()

    def _take(self, wait: bool) -> list[RequestJob]:
        """The jobs that are answered together next; none where none has come and `wait` is false, or at the end."""
        with self._changed:
            while True:
                while wait and not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return []
                first = self._waiting[0]
                left = first.arrived + GATHER_SECONDS - time.monotonic()
                if self._closed or first.is_alone or left <= 0:
                    break
                self._changed.wait(left)  # meanwhile it may be dropped
            self._waiting.popleft()
            if first.is_alone:
                return [first]
            together, questions, text = [first], len(first.asks), first.text
            for job in [*self._waiting]:
                has_room = questions + len(job.asks) <= GROUP_QUESTIONS and text + job.text <= GROUP_CHARACTERS
                if has_room and job.goes_with(first):
                    self._waiting.remove(job)
                    together.append(job)
                    questions, text = questions + len(job.asks), text + job.text
            return together

    def _start(self, jobs: Sequence[RequestJob]) -> list[Group]:
        """The jobs as one group; where one of them has an error, each of the others alone."""
        if not jobs:
            return []
        try:
            asks = [ask for job in jobs for ask in job.asks]
            languages = [language for job in jobs for language in job.languages]
            work = jobs[0].answerer.begin(asks, jobs[0].options.model_copy(update={"language": languages}))
            if work.windows > self.limits.windows:
                raise Refused(413, f"{work.windows} windows; at most {self.limits.windows}: send less text")
        except UserError as error:
            if len(jobs) > 1:
                return [group for job in jobs for group in self._start([job])]
            self._finish(jobs[0], error)
        except BaseException as error:  # a panic of a tokenizer is no Exception
            self._fail(jobs, error)
        else:
            self.metrics.group.observe(len(asks))
            return [Group(jobs, work)]
        return []

    def _step(self, group: Group) -> bool:
        """Computes a batch; False where the group is done, and its answers are handed over."""
        jobs, work, begin, before = *group, time.monotonic(), group.work.done
        if all(job.result.cancelled() for job in jobs):
            for job in jobs:
                self._finish(job, [])
            return False
        try:
            more = work.step()
            for job in jobs:
                if more and job.progress:
                    job.progress(work)
            answers = [] if more else work.answers()
        except BaseException as error:
            self._fail(jobs, error)
            return False
        self.metrics.windows.inc(work.done - before)
        self.metrics.model_seconds.inc(time.monotonic() - begin)
        if not more:
            remaining = iter(answers)
            for job in jobs:
                self.metrics.questions.inc(len(job.asks))
                self._finish(job, list(islice(remaining, len(job.asks))))
        return more

    def _finish(self, job: RequestJob, outcome: list[Answer] | Exception) -> None:
        with self._changed:
            self._count(-len(job.asks))
        with suppress(InvalidStateError):  # it was cancelled
            if isinstance(outcome, Exception):
                job.result.set_exception(outcome)
            else:
                job.result.set_result(outcome)

    def _fail(self, jobs: Sequence[RequestJob], error: BaseException) -> None:
        """Logs a fault of ours, or of a library; the thread continues."""
        log.error("%d requests failed", len(jobs), exc_info=error)
        for job in jobs:
            self._finish(job, RuntimeError("the model failed"))
