"""Other programs' predictions score what the official scripts give for them."""

import json
from pathlib import Path

import pytest

from helpers.paths import real_data
from helpers.questions import squad
from qa.data.squad_data import SquadData
from qa.errors import UserError
from qa.review.scores import score_predictions
from qa.runs.results import Results

TEXT = "Ada Brill built the bridge of Tollen in 1822."
ASKED = [("a", "Who?", "Ada Brill"), ("b", "What?", "the bridge"), ("c", "Where?", "Tollen"), ("d", "When?", "1822")]


def scored(validation: Path, predictions: Path) -> Results:
    _, results = score_predictions(SquadData(validation_file=str(validation), predictions_file=str(predictions)), {})
    return results


def score_some(folder: Path, asked: list[tuple[str, str, str]], predictions: dict[str, str]) -> Results:
    files = folder / "dev.json", folder / "predictions.json"
    for path, content in zip(files, (squad((TEXT, asked)), predictions), strict=True):
        path.write_text(json.dumps(content))
    return scored(*files)


# name: EM, F1, EM and F1 of the questions with an answer, EM of those without, by the official evaluate-v2.0.py
PUBLISHED = {
    "bert-single": (78.7417, 81.7753, 74.1059, 80.1818, 83.3642),
    "nlnet-single": (75.8275, 78.7778, 69.6188, 75.5277, 82.0185),
    "bidaf-elmo-single": (65.7037, 67.8765, 61.4204, 65.7722, 69.9748),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_systems_have_their_official_figures(name: str) -> None:
    best = scored(real_data("squad.dev-v2.0.json"), real_data(f"predictions/squad-v2.{name}.json")).best
    assert best is not None and best.NoAns_f1 == best.NoAns_exact
    figures = (best.exact_match, best.f1, best.HasAns_exact, best.HasAns_f1, best.NoAns_exact)
    assert figures == pytest.approx(PUBLISHED[name], abs=5e-5)


@pytest.mark.parametrize(("nobody", "exact"), [([], 25.0), ([("e", "Why?", "")], 20.0)])
def test_a_missing_id_scores_0_even_where_there_is_no_answer_and_an_unknown_one_is_ignored(
    nobody: list[tuple[str, str, str]], exact: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results = score_some(tmp_path, [*ASKED, *nobody], {"a": "Ada Brill", "b": "1822", "x": "Tollen", "y": ""})
    assert results.best is not None and results.evaluated is not None
    assert results.best.exact_match == results.best.f1 == exact
    assert (results.best.HasAns_exact, results.best.NoAns_exact) == ((25.0, 0.0) if nobody else (None, None))
    missing = 2 + len(nobody)
    assert results.skipped["validation"] == {"no prediction": missing, "prediction of an unknown id": 2}
    assert f"{missing} × no prediction: scores 0" in caplog.text
    assert "2 × prediction of an unknown id: ignored" in caplog.text


def test_predictions_of_other_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 of its 3 ids are in .*dev\.json, not 'x' for example; give the file that"):
        score_some(tmp_path, ASKED, {"a": "Ada Brill", "x": "", "y": ""})
    with pytest.raises(UserError, match=r"0 of its 0 ids are in .*dev\.json; give the file that was predicted"):
        score_some(tmp_path, ASKED, {})
