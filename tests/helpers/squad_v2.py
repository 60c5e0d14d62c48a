"""The figures of SQuAD v2.0, restated in plain loops from their definition."""

import re
import string
from collections.abc import Mapping, Sequence

Gold = Mapping[str, Sequence[str]]  # by id: the reference answers, none for a question without an answer


def words(text: str) -> list[str]:
    text = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def scores(prediction: str, references: Sequence[str]) -> tuple[float, float]:
    """EM and F1 in [0, 1]."""
    exact, overlap = [], []
    for reference in [text for text in references if words(text)] or [""]:
        predicted, expected = words(prediction), words(reference)
        exact.append(float(predicted == expected))
        left, same = list(expected), 0
        for word in predicted:
            if word in left:
                left.remove(word)
                same += 1
        none = not predicted or not expected
        overlap.append(float(predicted == expected) if none else 2 * same / (len(predicted) + len(expected)))
    return max(exact), max(overlap)


def best_threshold(
    scored: Sequence[float], odds: Sequence[float], has_answer: Sequence[bool], has_span: Sequence[bool]
) -> tuple[float, float]:
    """Begins with no question answered, and answers them one by one, the lowest null odds first."""
    points = best = float(sum(not known for known in has_answer))
    threshold = 0.0
    for row in sorted(range(len(odds)), key=lambda row: odds[row]):
        if has_answer[row]:
            points += scored[row]
        elif has_span[row]:
            points -= 1
        if points > best:
            best, threshold = points, odds[row]
    return 100 * best / len(odds), threshold


def figures(
    gold: Gold, predictions: Mapping[str, str], spans: Mapping[str, str], odds: Mapping[str, float]
) -> dict[str, float]:
    """All figures in percent. `predictions`: "" for no answer; `spans`: each question's best span, "" without one."""
    found: dict[str, float] = {}
    groups = {"": list(gold), "HasAns_": [n for n in gold if gold[n]], "NoAns_": [n for n in gold if not gold[n]]}
    for prefix, names in groups.items():
        for place, figure in enumerate(("exact", "f1")):
            total = sum(scores(predictions[name], gold[name])[place] for name in names)
            found[prefix + figure] = 100 * total / len(names)
    for place, figure in enumerate(("exact", "f1")):
        names = sorted(gold)
        found[f"best_{figure}"], found[f"best_{figure}_thresh"] = best_threshold(
            [scores(spans[name], gold[name])[place] for name in names],
            [odds[name] for name in names],
            [bool(gold[name]) for name in names],
            [bool(spans[name]) for name in names],
        )
    found["exact_match"] = found.pop("exact")
    return found
