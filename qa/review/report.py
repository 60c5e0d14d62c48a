"""`RunReport`: all that a finished run's tables, pages and dashboards show."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qa.evaluation.answers import NBestAnswer, Question
from qa.evaluation.question_table import read_questions
from qa.review.verdict import estimates, figures_in_words, remarks
from qa.runs.folder import RunFolder
from qa.runs.metrics_csv import read_metrics
from qa.runs.predictions import WrittenAnswers
from qa.runs.results import Results, read_results
from qa.runs.results_table import markdown_language_table, markdown_table
from qa.statistics.breakdown import Part, breakdown, kinds, language, question_type
from qa.statistics.error_kinds import count_errors, error_kind
from qa.statistics.intervals import Clusters, ConfidenceInterval, clusters
from qa.statistics.trust import Calibration, Trust, calibration, outcomes, risk_coverage, trust
from qa.storage import write_text

SHOWN = 5000  # questions: a page of more is no pleasure to open


@dataclass(frozen=True)
class RunReport:
    """A run's results and answers, and the figures that follow from them, each computed once and only if it is shown.

    `questions`: by id; `candidates`: of each question; both are empty where the run wrote none.
    """

    run: RunFolder
    results: Results
    questions: Sequence[Question]
    candidates: Mapping[str, Sequence[NBestAnswer]]

    @classmethod
    def read(cls, run: RunFolder) -> Self:
        """The report of a finished run, from its folder. Errors: UserError."""
        questions = read_questions(run.path) if run.questions.exists() else []
        return cls(run, read_results(run.path), questions, WrittenAnswers(run.candidates))

    @cached_property
    def scored(self) -> list[Question]:
        """The questions with known answers."""
        return [question for question in self.questions if question.exact_match is not None]

    @cached_property
    def clusters(self) -> Clusters:
        """The groups of scored questions that depend on each other."""
        return clusters(self.scored)

    @cached_property
    def figures(self) -> dict[str, ConfidenceInterval]:
        """F1 and EM of the scored questions in percent, with intervals; empty without any."""
        return estimates(self.scored, self.clusters) if self.scored else {}

    @cached_property
    def sentence(self) -> str:
        """The figures in words; empty without any."""
        return figures_in_words(self.figures, len(self.scored)) if self.figures else ""

    @cached_property
    def remarks(self) -> list[str]:
        """The remarks for a reader of the figures."""
        return list(remarks(self.results))

    @cached_property
    def caveat(self) -> str:
        """The choices that the evaluated questions made, in words; empty where there are none."""
        return self.results.chosen(self.run.path)

    @cached_property
    def breakdowns(self) -> dict[str, list[Part]]:
        """EM and F1 by kind of question."""
        return {name: breakdown(self.scored, kind) for name, kind in kinds(self.scored).items()}

    @cached_property
    def errors(self) -> dict[str, dict[str, Counter[str]]]:
        """How many wrong answers of each kind of error there are, by the question's type, and by its language."""
        ways = {"question type": question_type, "language": language}
        kinds = [(question, error_kind(question)) for question in self.scored]
        return {name: errors for name, way in ways.items() if (errors := count_errors(kinds, way))}

    @cached_property
    def outcomes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Probability, and whether the answer is right, [answers] each."""
        return outcomes(self.scored)

    @cached_property
    def reliability(self) -> tuple[Calibration, NDArray[np.float64], NDArray[np.float64]] | None:
        """The calibration of the probabilities, coverage and risk of the surest answers; None without any."""
        return (calibration(*self.outcomes), *risk_coverage(*self.outcomes)) if len(self.outcomes[0]) else None

    @cached_property
    def trust(self) -> Trust | None:
        """The trust that the probabilities deserve; None where it is unknown."""
        return self.results.calibration.after if self.results.calibration else trust(*self.outcomes)

    @cached_property
    def losses(self) -> list[tuple[int, float]]:
        """Step and training loss, of a fit that logged them."""
        return [(step, row["loss"]) for step, row in read_metrics(self.run.metrics) if "loss" in row]

    @cached_property
    def worst(self) -> Sequence[Question]:
        """The worst answers, of equal ones the surest: at most SHOWN questions in their order."""
        if len(self.questions) <= SHOWN:
            return self.questions
        worst_first = sorted(
            range(len(self.questions)),
            key=lambda row: (self.questions[row].f1 or 0, -(self.questions[row].probability or 0)),
        )
        return [self.questions[row] for row in sorted(worst_first[:SHOWN])]

    @property
    def samples(self) -> Sequence[Question]:
        """Five questions from all over the evaluation."""
        return self.questions[:: max(1, len(self.questions) // 5)][:5]

    def write(self) -> None:
        """Writes `results.md` and `results.json`; then the run is finished."""
        results = self.results
        if results.epochs:
            tables = [markdown_table(results.epochs, results.evaluated), markdown_language_table(results)]
            write_text(self.run.table, "\n\n".join(filter(None, [*tables, self.caveat, *self.remarks])) + "\n")
        write_text(self.run.results, results.model_dump_json(indent=1))
