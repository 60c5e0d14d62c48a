"""`Work`: questions on their way to their answers, a batch of windows at a time."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from qa.answering.answer import Answer
from qa.answering.choice import choose
from qa.answering.options import Options
from qa.data.example import Example
from qa.evaluation.answers import NBestAnswer
from qa.evaluation.collect import EvaluatedBatch, joined, lowest_null_scores
from qa.evaluation.decode import decode
from qa.evaluation.whole_words import with_whole_words
from qa.model.answering import Answering

JOINED = 8  # batches


class Ask(NamedTuple):
    """A question and the texts that may hold its answer."""

    question: str
    contexts: Sequence[str]
    first: int = 0  # the number that answers give the first of the contexts

    @property
    def texts(self) -> list[tuple[int, str]]:
        """The contexts that are not blank, with the numbers that answers give them."""
        return [(number, text) for number, text in enumerate(self.contexts, self.first) if str(text).strip()]


class Work:
    """Questions whose windows are evaluated batch by batch; the answers of those so far can be had at any time."""

    def __init__(
        self,
        asks: Sequence[Ask],
        examples: Sequence[Example],
        windows: int,
        batches: Iterator[EvaluatedBatch],
        options: Options,
        answering: Answering,
    ) -> None:
        """`examples`: one for each text of each question, with `batches` of all their `windows`."""
        self.windows, self.done = windows, 0
        self._asks, self._examples, self._batches = asks, examples, batches
        self._options, self._answering = options, answering
        self._parts: list[EvaluatedBatch] = []
        self._new: list[EvaluatedBatch] = []
        self._temperatures = options.temperatures(answering, len(asks))

    def step(self) -> bool:
        """Evaluates the next batch; False where none is left."""
        part = next(self._batches, None)
        if part is None:
            return False
        self._new.append(part)
        self.done += len(part.rows)
        if len(self._new) == JOINED:
            self._parts, self._new = [*self._parts, joined(self._new)], []
        return True

    def answers(self) -> list[Answer]:
        """The answer of each question, from the windows so far."""
        options, n_best = self._options, max(self._answering.n_best, self._options.top_k)
        contexts = {example.id: example.context for example in self._examples}
        parts = [*self._parts, *self._new]
        nulls = lowest_null_scores(parts) if options.threshold(self._answering) is not None else {}
        found = decode(((part.ids, part.spans) for part in parts), contexts, n_best)
        names, answers = iter(contexts), []
        for ask, temperature in zip(self._asks, self._temperatures, strict=True):
            mine = [(*numbered, name) for numbered, name in zip(ask.texts, names, strict=False)]
            candidates = [(place, self._cut(found.get(name, []), text), nulls.get(name)) for place, text, name in mine]
            answers.append(choose(candidates, options, self._answering, temperature))
        return answers

    def _cut(self, spans: list[NBestAnswer], text: str) -> list[NBestAnswer]:
        return [with_whole_words(span, text) for span in spans] if self._options.whole_words else spans
