"""What a run's figures mean, in sentences for people."""

from collections.abc import Iterator, Sequence

import numpy as np

from qa.evaluation.answers import Question
from qa.evaluation.intervals import Estimate, bounds, clusters, percent, proportion
from qa.runs.results import METRICS, MONITORS, Results
from qa.runs.results_table import counted

HEADLINE = {"f1": METRICS["f1"], **METRICS}  # F1 first
UNTRAINED_F1 = 10.0  # percent
FEW_VALIDATION, FEW_TRAINING = 100, 500  # questions


def figure(questions: Sequence[Question], key: str) -> Estimate:
    """Mean and interval in percent, over questions alone; see `qa.evaluation.intervals`."""
    values = np.array([[getattr(question, key) for question in questions]], float)
    return percent(proportion(values, clusters(questions)))


def figures(questions: Sequence[Question]) -> str:
    """F1 and EM with their intervals: "F1 7.56 (95% interval 3.10 to 14.92), EM 0.00 (…), 40 questions"."""
    words = []
    for key, name in HEADLINE.items():
        mean, low, high = figure(questions, key)
        words.append(f"{name} {mean:.2f}" + ("" if low is None else f" (95% interval {bounds(low, high)})"))
    return ", ".join([*words, counted(len(questions), "question")])


def remarks(results: Results) -> Iterator[str]:
    """What a reader of the figures should know: another epoch that is better, a model that learned little, few data.

    A span drawn at random from the context, of 1 to 22 words, gets F1 2 to 10 on English and German data (measured on
    XQuAD and SQuADShifts): a model at or below F1 10 cannot be told from one that was never trained. 100 questions
    leave an interval of about 10 points to either side of EM 50. Fewer than 500 questions teach a new span head next
    to nothing. Of SQuAD v2 also when a question gets no answer.
    """
    best, monitor = results.best, results.monitor
    if (threshold := results.no_answer_threshold) is not None:
        tuned = best.best_f1_thresh if best and results.windows.train else None
        later = "" if tuned is None else f"; later stages take {tuned:.2f}, the best for F1 here (model/qa.json)"
        yield f"No answer is given where the null score is more than {threshold:.2f} above the best span's{later}."
    if best is None:
        return
    for key, name in HEADLINE.items():
        known = [row for row in results.epochs if getattr(row, key) is not None]
        top = max(known, key=lambda row: getattr(row, key), default=best)
        mine, theirs = (getattr(row, key) for row in (best, top))
        if monitor and monitor != key and mine is not None and theirs > mine:
            yield (
                f"Epoch {best.epoch:g} is the best by {MONITORS[monitor]}; epoch {top.epoch:g} has the higher {name}"
                f" ({theirs:.2f}): checkpoint.monitor={key} would keep it."
            )
            break
    if best.f1 is not None and best.f1 <= UNTRAINED_F1:
        yield (
            f"F1 {best.f1:.2f} is hardly better than untrained: words drawn at random from the context get F1 2 to 10."
        )
    if found := results.calibration:
        before, after = found.before, found.after
        yield (
            f"Probabilities: expected calibration error {after.ece:.3f} (softmax {before.ece:.3f}, chance alone up to"
            f" {after.ece_chance:.3f}); where 80% must be right, it can answer {after.coverage_80:.0%} of the questions"
            f" (softmax {before.coverage_80:.0%})."
        )
    trained, validated = results.examples.train, results.examples.validation
    if results.evaluated:
        validated = results.evaluated.questions
    if trained is not None and trained < FEW_TRAINING:
        yield f"{counted(int(trained), 'training question')}: very few; a span head needs thousands to learn its task."
    if validated is not None and validated < FEW_VALIDATION:
        yield f"{counted(int(validated), 'evaluated question')}: very few; the figures may be far off."
