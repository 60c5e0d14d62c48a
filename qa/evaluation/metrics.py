"""Exact match and F1 of one answer, as SQuAD v1.1 and v2.0 define them.

Where a `language` is named (a code of ISO 639), answers are normalised by its rules instead, see `qa.evaluation.mlqa`.
"""

import re
import string
from collections.abc import Sequence

from qa.evaluation.mlqa import normalize_in

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(answer: str, language: str | None = None) -> str:
    """Lower case, without ASCII punctuation, English articles and superfluous white space (official SQuAD v1.1)."""
    if language:
        return normalize_in(language, answer)
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def _f1(predicted: Sequence[str], expected: Sequence[str]) -> float:
    """Harmonic mean of precision and recall over words; 0.0 where no word is shared, as officially."""
    left: dict[str, int] = {}  # linear also for texts that someone made long on purpose
    for word in expected:
        left[word] = left.get(word, 0) + 1
    shared = 0
    for word in predicted:
        if left.get(word):
            left[word] -= 1
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def scores(prediction: str, references: Sequence[str], language: str | None = None) -> tuple[float, float]:
    """The best EM and F1 against any of the references (SQuAD v1.1)."""
    predicted, expected = normalize(prediction, language), {normalize(text, language) for text in {*references}}
    if predicted and predicted in expected:
        return 1.0, 1.0
    words = predicted.split()
    return float(predicted in expected), max(_f1(words, text.split()) for text in expected)


def v2_scores(prediction: str, references: Sequence[str], language: str | None = None) -> tuple[float, float]:
    """The best EM and F1 against any of the references (SQuAD v2.0); without any, "" is the right answer.

    References that are normalised to nothing do not count. F1 is 1 where prediction and reference are empty.
    """
    if valid := [text for text in references if normalize(text, language)]:
        return scores(prediction, valid, language)
    exact = float(not normalize(prediction))
    return exact, exact
