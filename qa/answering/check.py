"""The scores of an answerer on questions with known answers."""

import logging
from collections.abc import Sequence
from itertools import compress, groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from qa.answering.answerer import QuestionAnswerer
from qa.answering.choice import BestSpans
from qa.answering.work import Ask
from qa.console import track
from qa.data.example import Example
from qa.data.reading.examples import read_examples
from qa.data.reading.overlap import context_hashes, trained_contexts
from qa.data.reading.record import Columns, Files
from qa.errors import UserError
from qa.evaluation.answers import Evaluation, given_answer, null_odds, score_question

log = logging.getLogger(__name__)

AT_ONCE = 256  # questions
BAD_SHOWN = 10  # records
SEED = 42  # of the texts that are drawn


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
    return list(compress(examples, ~is_known))


def check_trained(answerer: QuestionAnswerer) -> None:
    """Errors: UserError for a model without a span head: its answers are drawn anew at each start."""
    if not answerer.engine.trained_head:
        raise UserError("the model was not trained on questions: it has no span head; train it first")


def check_answers(answerer: QuestionAnswerer, examples: Sequence[Example]) -> Evaluation:
    """The evaluation of an answerer, in the form of a run's."""
    threshold = answerer.answering.no_answer_threshold
    if threshold is None and any(example.is_impossible for example in examples):
        threshold = 0.0  # as in SQuAD v2
    return Asked(answerer, examples).at(threshold)


class Asked:
    """Questions with the candidates of their answers."""

    def __init__(self, answerer: QuestionAnswerer, examples: Sequence[Example], texts: int = 1) -> None:
        """Asks each question over `texts` texts: its own, and others of its language, drawn."""
        self._examples = examples
        self.asks = _beside_others(examples, texts)
        self._spans: list[BestSpans] = []
        title = f"answering over {texts} texts" if texts > 1 else "answering"
        begins = range(0, len(examples), AT_ONCE)
        for begin in track(begins, f"{title}, {AT_ONCE} at a time", total=len(begins)):
            self._spans += answerer.finish(self.asks[begin : begin + AT_ONCE]).best_spans()

    def at(self, threshold: float | None) -> Evaluation:
        """The evaluation at a threshold of null odds; None: every question gets an answer."""
        v2 = threshold is not None
        answers = {e.id: spans.answers(with_null=v2) for e, spans in zip(self._examples, self._spans, strict=True)}
        questions = [
            score_question(example, given_answer(answers[example.id], threshold), v2=v2) for example in self._examples
        ]
        odds = {name: null_odds(candidates) for name, candidates in answers.items()} if v2 else None
        return Evaluation(questions, answers, np.zeros(0, np.float32), odds)


def _beside_others(examples: Sequence[Example], texts: int) -> list[Ask]:
    generator = np.random.default_rng(SEED)
    contexts = sorted({(example.language or "", example.context) for example in examples})
    by_language = {language: [text for _, text in group] for language, group in groupby(contexts, itemgetter(0))}
    asks = []
    for example in examples:
        every = by_language[example.language or ""]
        drawn = generator.choice(len(every), min(texts, len(every)), replace=False).tolist()
        others = [every[place] for place in drawn if every[place] != example.context]
        asks.append(Ask(example.question, [example.context, *others][:texts]))
    return asks
