"""The report of a run is the same while it is in memory and when it is read from its folder."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.questions import question
from helpers.results import RESULTS
from qa.evaluation.answers import Evaluation, NBestAnswer
from qa.evaluation.languages import language_figures
from qa.review.report import RunReport
from qa.runs.folder import RunFolder
from qa.runs.predictions import write_predictions
from qa.statistics.calibration import calibrate_evaluation

FIGURES = ("scored", "figures", "remarks", "caveat", "breakdowns", "trust", "losses", "worst")


@settings(max_examples=25, deadline=None)
@given(
    answered=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        st.tuples(st.booleans(), st.floats(-9, 9, width=32), st.floats(0, 1), st.sampled_from([None, "de", "en"])),
        min_size=1,
    )
)
def test_a_report_is_the_same_from_memory_and_from_the_folder(
    answered: dict[str, tuple[bool, float, float, str | None]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    questions, answers = [], {}
    for name, (right, score, probability, language) in answered.items():
        asked = question(name, "grey", "grey" if right else 'a "blue"\n1', language=language, probability=None)
        start, end = asked.start, asked.end
        assert start is not None and end is not None
        best = NBestAnswer(asked.prediction, score, probability, start, end)
        answers[name] = [best, NBestAnswer("👩‍👩‍👧", score - 1, 1 - probability, 0, 5)]
        questions.append(asked)
    run = RunFolder(tmp_path_factory.mktemp("run"))
    run.metrics.write_text("step,loss,f1\n1,3.5,\n1,,50.0\n2,2.25,\n")
    evaluation, calibration = calibrate_evaluation(Evaluation(questions, answers, np.zeros(0, np.float32)))
    found = {"calibration": calibration, "by_language": language_figures(evaluation.questions)}
    report = RunReport(run, RESULTS.model_copy(update=found), evaluation.questions, evaluation.answers)
    write_predictions(run.path, evaluation)
    report.write()
    again = RunReport.read(run)
    assert again == report
    assert [getattr(again, name) for name in FIGURES] == [getattr(report, name) for name in FIGURES]
    assert [values.tolist() for values in again.outcomes] == [values.tolist() for values in report.outcomes]
    assert report.losses == [(1, 3.5), (2, 2.25)]
