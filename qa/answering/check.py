"""An answerer on questions whose answers are known: its scores, and what its probabilities are worth."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qa.answering.answerer import QuestionAnswerer
from qa.console import track
from qa.data.example import Example
from qa.data.examples import read_examples
from qa.data.overlap import context_hashes, trained_contexts
from qa.data.record import Columns, Files
from qa.errors import UserError
from qa.evaluation.answers import Evaluation
from qa.evaluation.collect import EvaluatedBatch, collect
from qa.evaluation.confidence import Calibrated, calibrated
from qa.model.answering import Answering

log = logging.getLogger(__name__)

AT_ONCE = 256  # questions
BAD_SHOWN = 10  # records


def read_known(files: Files, columns: Columns = Columns()) -> list[Example]:
    """The questions of files of any kind that training reads; lists the records that cannot be used.

    Errors: UserError for a file that cannot be read, or without a question.
    """
    read = read_examples(files, "skip", need="texts", columns=columns)
    for bad in read.bad[:BAD_SHOWN]:
        log.warning("%s", bad.problem)
    if read.bad:
        log.warning("%d of %d records skipped", len(read.bad), len(read.bad) + len(read.examples))
    return read.examples


def on_new_contexts(examples: list[Example], folder: Path) -> list[Example]:
    """The questions on contexts that the model in a folder was not trained on; says how many others are skipped.

    Errors: UserError where there is none.
    """
    is_known = np.isin(context_hashes(examples), trained_contexts(str(folder)))
    if not (lost := int(is_known.sum())):
        return examples
    words = f"{lost:,} of {len(examples):,} questions are on texts that {folder} was trained on"
    if lost == len(examples):
        raise UserError(f"{words}; give questions on other texts")
    log.warning("%s: they are skipped, such as %r", words, examples[int(is_known.argmax())].id)
    return [example for example, known in zip(examples, is_known, strict=True) if not known]


def check_trained(answerer: QuestionAnswerer) -> None:
    """Errors: UserError for a model without a span head, whose answers are drawn anew at each start."""
    if not answerer.engine.trained_head:
        raise UserError("the model was not trained on questions: it has no span head; train it first")


def check_answers(answerer: QuestionAnswerer, examples: Sequence[Example]) -> Evaluation:
    """The evaluation of an answerer, as that of a run."""
    return _collect(answerer, examples, _batches(answerer, examples), _threshold(answerer, examples))


def calibrate(
    answerer: QuestionAnswerer, examples: Sequence[Example], contents: list[str]
) -> tuple[Evaluation, Calibrated, Answering]:
    """Fits temperatures with questions; returns their evaluation, what the temperatures are worth, and a new `qa.json`.

    Where some questions have no answer, its threshold is the best for F1 with these questions. `contents`: hashes of
    their files. Errors: UserError.
    """
    check_trained(answerer)
    batches, known = _batches(answerer, examples), answerer.answering
    found = _collect(answerer, examples, batches, _threshold(answerer, examples))
    threshold, chosen = known.no_answer_threshold, {**(known.chosen_on or {}), "temperature": contents}
    if any(example.is_impossible for example in examples):
        threshold = found.figures()["kept_threshold"]
        found, chosen["threshold"] = _collect(answerer, examples, batches, threshold), contents
    _, worth = calibrated((question, found.answers[question.id]) for question in found.questions)
    if worth is None:
        raise UserError("no answer is known; give questions with their answers")
    update = {**worth.fitted, "no_answer_threshold": threshold, "chosen_on": chosen}
    return found, worth, known.model_copy(update=update)


def _threshold(answerer: QuestionAnswerer, examples: Sequence[Example]) -> float | None:
    """The answerer's own; 0 where it has none and some questions have no answer, as in SQuAD v2."""
    known = answerer.answering.no_answer_threshold
    return 0.0 if known is None and any(example.is_impossible for example in examples) else known


def _batches(answerer: QuestionAnswerer, examples: Sequence[Example]) -> list[EvaluatedBatch]:
    begins = range(0, len(examples), AT_ONCE)
    found: list[EvaluatedBatch] = []
    for begin in track(begins, f"answering, {AT_ONCE} at a time", total=len(begins)):
        found += answerer.evaluate(examples[begin : begin + AT_ONCE])
    return found


def _collect(
    answerer: QuestionAnswerer, examples: Sequence[Example], batches: list[EvaluatedBatch], threshold: float | None
) -> Evaluation:
    return collect(batches, {example.id: example for example in examples}, answerer.answering.n_best, threshold)
