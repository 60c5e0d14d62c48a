"""`Work`: questions that are answered a batch of windows at a time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from qa.answering.answer import Answer
from qa.answering.choice import BestSpans, choose, merge, with_whole_words
from qa.answering.options import Options
from qa.answering.promise import with_promise
from qa.data.example import Example
from qa.evaluation.collect import EvaluatedBatch, join_batches, lowest_null_scores
from qa.evaluation.decode import decode
from qa.model.answering import Answering

JOINED = 8  # batches


class Ask(NamedTuple):
    """A question and the texts that may hold its answer."""

    question: str
    contexts: Sequence[str]
    first: int = 0  # the number that answers give the first of the contexts

    @property
    def texts(self) -> dict[str, int]:
        """The distinct contexts that are not blank, in their order, {text: number in answers}."""
        numbers: dict[str, int] = {}
        for number, text in enumerate(self.contexts, self.first):
            if str(text).strip():
                numbers.setdefault(text, number)
        return numbers


class Reading(NamedTuple):
    """The texts that are read for a question."""

    texts: Mapping[str, int]  # {text: number in answers}
    asked: int  # number of distinct texts before some were chosen


class Work:
    """Questions with windows that are evaluated batch by batch; it has answers from the windows so far at any time."""

    def __init__(
        self,
        readings: Sequence[Reading],
        examples: Sequence[Example],
        windows: int,
        batches: Iterator[EvaluatedBatch],
        options: Options,
        answering: Answering,
        warnings: Mapping[str, str | None],  # by text
    ) -> None:
        """`examples`: one for each text of each question, with `batches` of all their `windows`."""
        self.windows, self.done = windows, 0
        self._readings, self._examples, self._batches = readings, examples, batches
        self._options = with_promise(options, answering, [reading.asked for reading in readings])
        self._answering, self._warnings = answering, warnings
        self._parts: list[EvaluatedBatch] = []
        self._new: list[EvaluatedBatch] = []
        self._languages = options.languages(len(readings), answering)

    def step(self) -> bool:
        """Evaluates the next batch; False where none is left."""
        part = next(self._batches, None)
        if part is None:
            return False
        self._new.append(part)
        self.done += len(part.rows)
        if len(self._new) == JOINED:
            self._parts, self._new = [*self._parts, join_batches(self._new)], []
        return True

    def answers(self) -> list[Answer]:
        """The answer of each question, from the windows so far."""
        every = zip(self.best_spans(), self._readings, self._languages, strict=True)
        return [self._answer(*one) for one in every]

    def _answer(self, spans: BestSpans, reading: Reading, language: str | None) -> Answer:
        """The answer of a question; none where `max_error` is asked for and cannot be kept, as its text is unlike."""
        warnings = {number: self._warnings[text] for text, number in reading.texts.items()}
        options = self._options
        if options.max_error is not None and any(warnings.values()):
            options = options.model_copy(update={"min_probability": math.inf})
        answer = choose(spans, options, self._answering.over(reading.asked), language)
        others = tuple(replace(one, warning=warnings[one.context_index]) for one in answer.alternatives)
        warning = warnings[answer.context_index] if answer else next(filter(None, warnings.values()), None)
        return replace(answer, warning=warning, alternatives=others)

    def best_spans(self) -> list[BestSpans]:
        """The best spans of each question, from the windows so far."""
        n_best, parts = self._answering.n_best, [*self._parts, *self._new]
        contexts = {example.id: example.context for example in self._examples}
        spans, nulls = decode(((part.ids, part.spans) for part in parts), contexts, n_best), lowest_null_scores(parts)
        names, merged = iter(contexts), []
        for reading in self._readings:
            text_names = dict(zip(reading.texts.values(), names, strict=False))
            best = merge([(number, spans[name], nulls.get(name)) for number, name in text_names.items()], n_best)
            if self._options.whole_words:
                spans_of = [(with_whole_words(s, contexts[text_names[n]]), n) for s, n in best.spans]
                best = best._replace(spans=spans_of)
            merged.append(best)
        return merged
