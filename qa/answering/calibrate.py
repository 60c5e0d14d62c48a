"""Fits a model's decisions with questions and their answers: temperatures, thresholds, odds of no answer."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from qa.answering.answerer import QuestionAnswerer
from qa.answering.check import SEED, Asked, check_trained
from qa.answering.promise import error_bounds
from qa.answering.shift import describe_texts
from qa.data.example import Example
from qa.errors import UserError
from qa.evaluation.answers import Evaluation
from qa.model.answering import Answering, Decision
from qa.statistics.calibration import Calibrated, calibrate_evaluation

log = logging.getLogger(__name__)

SEVERAL = (5, 20)  # texts over which a question is asked
MOST_ASKED = 600  # questions that are asked over several texts
ENOUGH = 50  # questions without an answer, for a threshold


class Worth(NamedTuple):
    """The worth of a model's answers over a number of texts, and the decision behind them."""

    evaluation: Evaluation
    calibrated: Calibrated
    decision: Decision


def calibrate(
    answerer: QuestionAnswerer, examples: Sequence[Example], contents: list[str]
) -> tuple[dict[int, Worth], Answering]:
    """Fits the decisions over one text and several; returns their worth, by number of texts, and a `qa.json`.

    Several texts are the question's own and those of other questions. Where ENOUGH questions have no answer the
    thresholds are the best for F1 with these questions. `contents`: hashes of the files. Errors: UserError.
    """
    check_trained(answerer)
    answering, chosen = answerer.answering, ["temperature"]
    unanswerable = sum(example.is_impossible for example in examples)
    if unanswerable >= ENOUGH:
        chosen.append("threshold")
    elif unanswerable:
        log.warning("%d questions without an answer: the threshold stays; give %d to fit it", unanswerable, ENOUGH)
    distinct = {(example.language, example.context) for example in examples}
    fewest = min(Counter(language for language, _ in distinct).values())
    sample = [examples[row] for row in np.random.default_rng(SEED).permutation(len(examples))[:MOST_ASKED].tolist()]
    worth = {}
    for texts in (1, *SEVERAL):
        if texts <= fewest:
            asked = Asked(answerer, examples if texts == 1 else sample, texts)
            worth[texts] = _fit(asked, answering.over(texts), "threshold" in chosen)
    decisions = {texts: part.decision for texts, part in worth.items()}
    questions = worth[1].evaluation.questions
    ids_of = answerer.token_ids([*dict.fromkeys(question.context for question in questions)])
    return worth, answering.changed(
        **decisions.pop(1).model_dump(),
        temperature_by_language=worth[1].calibrated.temperature_by_language,
        several_texts=decisions,
        error_bounds=error_bounds(questions),
        known_texts=describe_texts(questions, ids_of, len(answerer.tokenizer)),
        chosen_on={**(answering.chosen_on or {}), **dict.fromkeys(chosen, contents)},
    )


def _fit(asked: Asked, answering: Answering, has_threshold: bool) -> Worth:
    threshold = asked.at(0.0).figures()["kept_threshold"] if has_threshold else answering.no_answer_threshold
    evaluation = asked.at(threshold)
    is_learned = any(question.is_unanswerable for question in evaluation.questions)  # else none would be likely
    evaluation, fitted = calibrate_evaluation(evaluation, line=None if is_learned else answering.no_answer_line)
    if fitted is None:
        raise UserError("no answer is known; give questions with their answers")
    return Worth(evaluation, fitted, Decision(no_answer_threshold=threshold, **fitted.fitted))


def texts_rows(worth: Mapping[int, Worth]) -> Iterator[list[str]]:
    """Headings and rows of a table: the worth of answers by number of texts."""
    may_refuse = any(part.decision.no_answer_threshold is not None for part in worth.values())
    refusals = ["Answered without one", "Threshold"] if may_refuse else []
    yield ["Texts", "EM", "F1", "Calibration error", "By chance up to", *refusals]
    for texts, (evaluation, fitted, decision) in worth.items():
        figures = evaluation.figures()
        scores = [f"{figures['exact_match']:.2f}", f"{figures['f1']:.2f}"]
        row = [f"{texts}", *scores, f"{fitted.after.ece:.3f}", f"{fitted.after.ece_chance:.3f}"]
        if may_refuse:
            empty = [bool(q.prediction) for q in evaluation.questions if q.is_unanswerable]
            share = f"{sum(empty) / len(empty):.1%} of {len(empty)}" if empty else ""
            row += [share, f"{decision.no_answer_threshold:.2f}"]
        yield row
