"""An answerer on questions whose answers are known: its scores, and what its probabilities are worth."""

from collections.abc import Sequence

from qa.answering.answerer import QuestionAnswerer
from qa.console import track
from qa.data.example import Example
from qa.data.examples import read_examples
from qa.data.record import Files
from qa.errors import UserError
from qa.evaluation.answers import Evaluation
from qa.evaluation.collect import EvaluatedBatch, collect
from qa.evaluation.confidence import Calibrated, calibrated
from qa.model.answering import Answering

AT_ONCE = 256  # questions


def read_known(files: Files) -> list[Example]:
    """The questions of files of any kind that training reads. Errors: UserError, also where an answer is missing."""
    return read_examples(files, need="texts").examples


def check_answers(answerer: QuestionAnswerer, examples: Sequence[Example]) -> Evaluation:
    """The evaluation of an answerer, as that of a run; of SQuAD v2 at the answerer's own threshold, else at 0."""
    threshold = (answerer.answering.no_answer_threshold or 0.0) if _is_v2(examples) else None
    return _collect(answerer, examples, _batches(answerer, examples), threshold)


def calibrate(answerer: QuestionAnswerer, examples: Sequence[Example]) -> tuple[Evaluation, Calibrated, Answering]:
    """Fits temperatures with questions; returns their evaluation, what the temperatures are worth, and a new `qa.json`.

    Where some questions have no answer, its threshold is the best for F1 with these questions. Errors: UserError.
    """
    batches, known = _batches(answerer, examples), answerer.answering
    found = _collect(answerer, examples, batches, 0.0 if _is_v2(examples) else None)
    threshold = known.no_answer_threshold
    if _is_v2(examples):
        threshold = found.figures()["best_f1_thresh"]
        found = _collect(answerer, examples, batches, threshold)
    _, worth = calibrated((question, found.answers[question.id]) for question in found.questions)
    if worth is None:
        raise UserError("no answer is known; give questions with their answers")
    fitted = worth.model_dump(include={"temperature", "temperature_by_language"})
    return found, worth, known.model_copy(update={**fitted, "no_answer_threshold": threshold})


def _is_v2(examples: Sequence[Example]) -> bool:
    return any(example.is_impossible for example in examples)


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
