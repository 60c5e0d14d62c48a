"""A model as a service: it takes questions within limits, and waits for their answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

from qa.answering.answer import Answer
from qa.answering.answerer import QuestionAnswerer
from qa.answering.options import READ, Options
from qa.answering.promise import shown_promises
from qa.answering.work import Ask, Work
from qa.serving.batching import Batcher, RequestJob
from qa.serving.limits import Limits, Refused
from qa.serving.metrics import Counters
from qa.serving.schemas import AnswerBody, Item, ModelInfo, TrainedOn
from qa.storage import contents_hash

LOOK_INTERVAL = 0.25  # seconds between two looks at a long text's answer so far


class AnswerService:
    """A model, its threads, and the limits of its clients."""

    def __init__(self, answerer: QuestionAnswerer, name: str, limits: Limits) -> None:
        self.answerer, self.name, self.limits, self.metrics = answerer, name, limits, Counters()
        self.content = contents_hash(file for file in answerer.files if file.suffix != ".md")
        self.batcher = Batcher(limits, self.metrics, answerer.lanes.count if answerer.lanes else 1)

    def info(self, corrections: int) -> ModelInfo:
        """The model that is served, and its limits."""
        answering = self.answerer.answering
        return ModelInfo(
            model=self.name,
            content=self.content,
            engine=self.answerer.engine.name,
            trained=self.answerer.engine.trained_head,
            trained_on=[TrainedOn(questions=n, data=data, date=date) for n, data, date in answering.trained_on],
            calibrated=answering.temperature is not None,
            calibrated_over=[1, *answering.several_texts] if answering.temperature else [],
            languages=sorted(answering.temperature_by_language),
            max_errors=[error for error, bound in shown_promises(answering.error_bounds).items() if bound],
            read_texts=READ,
            may_refuse=answering.no_answer_threshold is not None,
            limits=asdict(self.limits),
            corrections=corrections,
        )

    async def answers(self, items: Sequence[Item], options: Options) -> list[Answer]:
        """The answers of a request's questions. Errors: Refused, UserError."""
        asks = [Ask(item.question, item.contexts) for item in items]
        return await self.wait(RequestJob(asks, [item.language for item in items], options, self.answerer))

    def check(self, asks: Sequence[Ask]) -> None:
        """Errors: Refused for more than the limits allow."""
        limits = self.limits
        if (count := sum(len(ask.contexts) for ask in asks)) > limits.contexts:
            raise Refused(413, f"context: {count:,} texts; at most {limits.contexts:,} in a request")
        if (most := max(len(ask.question) for ask in asks)) > limits.question:
            raise Refused(413, f"question: {most:,} characters; at most {limits.question:,}")
        if (size := sum(len(text) for ask in asks for text in ask.contexts)) > limits.context:
            raise Refused(413, f"context: {size:,} characters; at most {limits.context:,} in a request")

    def submit(self, job: RequestJob) -> None:
        """Accepts a job. Errors: Refused for more than the limits allow, or where too many wait."""
        self.check(job.asks)
        self.batcher.submit(job)

    async def wait(self, job: RequestJob) -> list[Answer]:
        """Submits a job, and returns its answers. Errors: Refused, UserError."""
        self.submit(job)
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await asyncio.wrap_future(job.result)
        except TimeoutError:
            words = f"no answer within {self.limits.seconds:g} s"
            raise Refused(504, f"{words}; send less text, or ask /answer/stream") from None
        finally:
            self.batcher.drop(job)

    def watch(self, item: Item, options: Options) -> AsyncIterator[dict[str, Any]]:
        """The answer so far, again and again, and how many windows are done of how many. Errors: Refused."""
        latest: list[tuple[int, int, Answer]] = []
        due = 0.0

        def look(work: Work) -> None:
            nonlocal due
            if (begin := time.monotonic()) > due:
                latest[:] = [(work.done, work.windows, work.answers()[0])]
                due = time.monotonic() + max(LOOK_INTERVAL, 10 * (time.monotonic() - begin))

        job = RequestJob([Ask(item.question, item.contexts)], [item.language], options, self.answerer, look)
        self.submit(job)
        return self._states(job, latest)

    async def _states(self, job: RequestJob, latest: list[tuple[int, int, Answer]]) -> AsyncIterator[dict[str, Any]]:
        """The states of a job, the last one with its answer. Errors: UserError."""
        result = asyncio.wrap_future(job.result)
        try:
            while not (await asyncio.wait({result}, timeout=LOOK_INTERVAL))[0]:
                for done, windows, answer in latest:
                    yield {"done": done, "windows": windows, "answer": AnswerBody.of(answer).model_dump()}
                latest.clear()
            yield {"answer": AnswerBody.of(result.result()[0]).model_dump(), "final": True}
        finally:
            self.batcher.drop(job)
