"""Logits → answers, EM and F1 the usual way: a Python loop over the best starts and the best ends of each window.

As the question-answering examples of Hugging Face are described to do it, in our own words: only the `n_best` best
starts and the `n_best` best ends of a window are combined, so that a span of a worse start or end is not found.
"""

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PUNCTUATION = set(string.punctuation)


class Feature(NamedTuple):
    """A window as it is after tokenization: padded, with the characters of each token of the context."""

    start_logits: NDArray[np.float32]  # [length]
    end_logits: NDArray[np.float32]  # [length]
    offsets: list[tuple[int, int] | None]  # [length]: characters, end-exclusive; None outside of the context


def best_answers(
    context: str, features: Sequence[Feature], n_best: int = 20, longest: int = 30, v2: bool = False
) -> list[dict[str, Any]]:
    """The `n_best` best spans of a question, best first, as {"text", "start", "end", "score", "probability"}
    and the logits of both, as that script's file of candidates has them.

    `v2` keeps the null answer among them, with no text.
    """
    candidates: list[dict[str, Any]] = []
    null: dict[str, Any] | None = None
    for feature in features:
        null_score = feature.start_logits[0] + feature.end_logits[0]
        if null is None or null["score"] > null_score:
            one, other = feature.start_logits[0], feature.end_logits[0]
            null = {"start": 0, "end": 0, "score": null_score, "start_logit": one, "end_logit": other}
        starts = np.argsort(feature.start_logits)[-1 : -n_best - 1 : -1].tolist()
        ends = np.argsort(feature.end_logits)[-1 : -n_best - 1 : -1].tolist()
        for start in starts:
            for end in ends:
                first, last = feature.offsets[start], feature.offsets[end]
                if first is None or last is None or end < start or end - start + 1 > longest:
                    continue
                one, other = feature.start_logits[start], feature.end_logits[end]
                place = {"start": first[0], "end": last[1]}
                candidates.append({**place, "score": one + other, "start_logit": one, "end_logit": other})
    if v2 and null:
        candidates.append(null)
    best = sorted(candidates, key=lambda candidate: candidate["score"], reverse=True)[:n_best]
    if v2 and null and null not in best:
        best.append(null)
    for candidate in best:
        candidate["text"] = context[candidate["start"] : candidate["end"]]
    scores = np.array([candidate["score"] for candidate in best])
    weights = np.exp(scores - scores.max(initial=-np.inf))
    for candidate, probability in zip(best, weights / weights.sum(), strict=True):
        candidate["probability"] = probability
        for key in ("score", "probability", "start_logit", "end_logit"):  # JSON knows no number of NumPy
            candidate[key] = float(candidate[key])
    return best


def normalize(text: str) -> str:
    """Lower case, without punctuation, articles and superfluous white space."""
    kept = "".join(letter for letter in text.lower() if letter not in PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def exact_match(prediction: str, reference: str) -> float:
    """1.0 where both normalise to the same text."""
    return float(normalize(prediction) == normalize(reference))


def f1(prediction: str, reference: str) -> float:
    """Harmonic mean of precision and recall over words."""
    predicted, expected = normalize(prediction).split(), normalize(reference).split()
    shared = sum((Counter(predicted) & Counter(expected)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)


def figures(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> tuple[float, float]:
    """EM and F1 in percent over all questions: of each the best against any of its references."""
    exact = [max(exact_match(predictions[name], text) for text in texts) for name, texts in references.items()]
    overlap = [max(f1(predictions[name], text) for text in texts) for name, texts in references.items()]
    return 100 * sum(exact) / len(exact), 100 * sum(overlap) / len(overlap)
