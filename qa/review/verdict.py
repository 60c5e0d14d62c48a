"""The meaning of a run's figures, in sentences for people."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qa.evaluation.answers import Question
from qa.runs.results import METRICS, Results, monitor_in_words
from qa.runs.results_table import counted
from qa.statistics.intervals import Clusters, ConfidenceInterval, bounds, percent, proportion
from qa.statistics.trust import Trust

HEADLINE = {"f1": METRICS["f1"], **METRICS}  # F1 first
UNTRAINED_F1 = 10.0  # percent
FEW_VALIDATION, FEW_TRAINING = 100, 500  # questions


def estimates(questions: Sequence[Question], by: Clusters) -> dict[str, ConfidenceInterval]:
    """F1 and EM in percent with their intervals, over questions alone; see `qa.statistics.intervals`."""
    values = {key: np.array([[getattr(question, key) for question in questions]], float) for key in HEADLINE}
    return {key: percent(proportion(scores, by)) for key, scores in values.items()}


def figures_in_words(figures: Mapping[str, ConfidenceInterval], count: int) -> str:
    """F1 and EM with their intervals: "F1 7.56 (95% interval 3.10 to 14.92), EM 0.00 (…), 40 questions"."""
    words = []
    for key, (mean, low, high) in figures.items():
        words.append(f"{HEADLINE[key]} {mean:.2f}" + ("" if low is None else f" (95% interval {bounds(low, high)})"))
    return ", ".join([*words, counted(count, "question")])


def remarks(results: Results) -> Iterator[str]:
    """The remarks for a reader of the figures: memory, repairs, a better epoch, a model that learned little, few data.

    A span drawn at random from the context, of 1 to 22 words, gets F1 2 to 10 on English and German data (measured on
    XQuAD and SQuADShifts): a model at or below F1 10 cannot be told from one that was never trained. 100 questions
    leave an interval of about 10 points to either side of EM 50. Fewer than 500 questions teach a new span head next
    to nothing. Of SQuAD v2 also when a question gets no answer.
    """
    best, monitor = results.best, results.monitor
    if (threshold := results.no_answer_threshold) is not None:
        tuned = best.threshold if best and results.windows.train else None
        later = "" if tuned is None else f"; later stages use {tuned:.2f}, the best for F1 here (model/qa.json)"
        yield f"It gives no answer if the null score is more than {threshold:.2f} above the best span's score{later}."
    if best is None:
        return
    if results.memory:
        yield results.memory
    if repaired := sum(sum(kinds.values()) for split, kinds in results.repaired.items() if split != "train"):
        yield f"{counted(repaired, 'reference answer')} repaired: with the file as it is, EM and F1 would be others."
    for key, name in HEADLINE.items():
        measured = [row for row in results.epochs if getattr(row, key) is not None]
        top = max(measured, key=lambda row: getattr(row, key), default=best)
        mine, theirs = (getattr(row, key) for row in (best, top))
        if monitor and monitor != key and mine is not None and theirs > mine:
            yield (
                f"Epoch {best.epoch:g} is the best by {monitor_in_words(monitor)}; epoch {top.epoch:g} has the higher"
                f" {name} ({theirs:.2f}): checkpoint.monitor={key} would keep it."
            )
            break
    if gap := results.language_gap:
        yield (
            f"Gap to {gap.trained}, the language of the training data: F1 {gap.f1:.2f}, EM {gap.exact_match:.2f}"
            " (its figures less the mean of the other languages')."
        )
    named = sum(row.questions for row in results.by_language.values())
    if named and results.evaluated and (others := results.evaluated.questions - named):
        yield f"{counted(others, 'question')} whose language is not known: not in the figures by language."
    if best.f1 is not None and best.f1 <= UNTRAINED_F1:
        yield (
            f"F1 {best.f1:.2f} is hardly better than without training:"
            " words drawn at random from the context get F1 2 to 10."
        )
    if results.calibration:
        yield from selective(results.calibration.after)
    trained = results.examples.train
    validated = results.evaluated.questions if results.evaluated else results.examples.validation
    if trained is not None and not results.trained_head and (advice := few_training(int(trained))):
        yield advice
    if validated is not None and validated < FEW_VALIDATION:
        yield f"{counted(int(validated), 'evaluated question')}: very few; the figures may be far off."


def few_training(questions: int) -> str:
    """The remedy where a new span head has too few questions to learn from; empty where it has enough."""
    if questions >= FEW_TRAINING:
        return ""
    return (
        f"{counted(questions, 'training question')}: very few; a new span head needs thousands to learn its task."
        " Start from a model that already answers questions: model.pretrained=RUN/model of a run on more data,"
        " or a model of the hub that was trained on SQuAD."
    )


def selective(trust: Trust) -> Iterator[str]:
    """The gain of answering only when sure, in words; nothing where too few questions tell.

    The share is the largest for which it holds on these very questions, so it is a little too good for others. The
    probabilities were not fitted with the questions that they are measured on.
    """
    for right, share in ((8, trust.coverage_80), (9, trust.coverage_90)):
        if share < 1 and share * trust.questions >= FEW_VALIDATION / 2:
            yield (
                f"If it answers only the {share:.0%} of these questions that it is surest of, {right} of 10 answers are"
                " right; on other texts it may be fewer."
            )
            return
