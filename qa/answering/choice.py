"""The candidates of a question → its answer."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import regex

from qa.answering.answer import Answer
from qa.answering.options import Options
from qa.evaluation.answers import NBestAnswer
from qa.model.answering import Answering
from qa.statistics.calibration import no_answer_probability, probabilities, same_answer

LONGEST = 100  # characters that are added at one end; what is longer, such as an address of the web, stays cut
# Unicode's word borders (UAX 29): marks, digits with their commas, and letters around an apostrophe stay together, and
# each letter of a script without spaces is a word. More borders are where a right answer may end:
BORDER = regex.compile(
    r"""\b
    | (?<=\p{L}\p{M}*)(?=[.:]) | (?<=[.:])(?=\p{L})  # where a space is missing: Arlbury.Her
    | (?=['’]s\b)  # Anna's, but not don't
    | (?<=\b(?:\p{Ll}+['’]|و))(?=[\p{L}\p{N}]{3})  # l'école, but not O'Brien; Arabic's "and"
    | (?<=\p{Hangul})(?=\p{Hangul})  # Korean's particles""",
    regex.WORD | regex.VERBOSE,
)


class BestSpans(NamedTuple):
    """The best spans of a question in all of its texts, best first, and the score of no answer."""

    spans: Sequence[tuple[NBestAnswer, int]]  # each with the number of its text
    null: float | None  # the lowest of all windows; None before the first is evaluated

    @property
    def odds(self) -> float:
        """Null score − score of the best span."""
        if self.null is None:
            return -math.inf
        return self.null - self.spans[0][0].score if self.spans else math.inf

    def answers(self, with_null: bool) -> list[NBestAnswer]:
        """The answers in the form of `decode`, the null answer behind spans of the same score."""
        null = [NBestAnswer("", self.null, 0.0, 0, 0)] if with_null and self.null is not None else []
        answers = sorted([*(span for span, _ in self.spans), *null], key=lambda answer: -answer.score)
        weights = [math.exp(answer.score - answers[0].score) for answer in answers]
        total = sum(weights)
        return [answer._replace(probability=w / total) for answer, w in zip(answers, weights, strict=True)]


def merge(parts: Iterable[tuple[int, Sequence[NBestAnswer], float | None]], n_best: int) -> BestSpans:
    """The `n_best` best spans of several texts. `parts`: each text's number, spans and null score."""
    parts = list(parts)
    every = [(span, number) for number, spans, _ in parts for span in spans]
    nulls = [null for _, _, null in parts if null is not None]
    return BestSpans(sorted(every, key=lambda pair: -pair[0].score)[:n_best], min(nulls, default=None))


def choose(best: BestSpans, options: Options, answering: Answering, language: str | None) -> Answer:
    """The answer of a question. `answering`: for the number of its texts, see `Answering.over`."""
    general, by_language, line = answering.scales
    no_answer = None
    may_refuse = answering.no_answer_threshold is not None or options.handle_impossible_answer
    if may_refuse and best.null is not None:
        no_answer = float(no_answer_probability(best.odds, line))
    temperature = by_language.get(language or "", general)
    texts, scores = [span.text for span, _ in best.spans], [span.score for span, _ in best.spans]
    answers = [
        Answer(span.text, span.start, span.end, span.score, (1 - (no_answer or 0.0)) * share, number)
        for (span, number), share in zip(best.spans, probabilities(texts, scores, temperature), strict=True)
    ]
    distinct = _apart(answers, options.overlap_threshold)
    kept = [answer for answer in distinct if answer.probability >= options.min_probability]
    threshold = options.threshold(answering)
    # the best span is the answer, or nothing is: another, equal ones added up, may be more probable
    if not kept or kept[0] is not answers[0] or (threshold is not None and best.odds > threshold):
        nothing = Answer("", 0, 0, best.null or 0.0, no_answer or 0.0, no_answer_probability=no_answer)
        return replace(nothing, alternatives=tuple(kept[: options.top_k - 1]))
    first, *others = kept[: options.top_k]
    return replace(first, alternatives=tuple(others), no_answer_probability=no_answer)


def _apart(answers: Sequence[Answer], most: float) -> list[Answer]:
    """The answers that no better one equals or covers by more than the share `most`, best first."""
    kept: dict[str | None, Answer] = {}
    for answer in answers:
        if all(_overlap(answer, other) <= most for other in kept.values()):
            kept.setdefault(same_answer(answer.text), answer)
    return list(kept.values())


def _overlap(one: Answer, other: Answer) -> float:
    """The share of the shorter answer that both hold."""
    if one.context_index != other.context_index:
        return 0.0
    shared = min(one.end, other.end) - max(one.start, other.start)
    return max(0, shared) / min(one.end - one.start, other.end - other.start)


def with_whole_words(answer: NBestAnswer, context: str) -> NBestAnswer:
    """The answer, widened: "441" of "Call 4417." becomes "4417". For texts of any script, and any tokenizer."""
    before = range(answer.start, answer.start - LONGEST, -1)
    after = range(answer.end, answer.end + LONGEST)
    start = next((place for place in before if BORDER.match(context, place)), answer.start)
    end = next((place for place in after if BORDER.match(context, place)), answer.end)
    text = context[start:end].strip()  # a mark behind a blank makes one word with it
    start = context.index(text, start)
    return answer._replace(text=text, start=start, end=start + len(text))
