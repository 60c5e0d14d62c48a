"""Runs of earlier commits are still shown, resumed and compared, and their models answer."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from helpers.commands import Run
from helpers.earlier_run import SETTINGS
from helpers.paths import ROOT
from qa import QuestionAnswerer

# the first is older than folders in qa/, the last knows of calibration, languages and texts that it was trained on
ARCHIVES = ["earlier_run", "earlier_run_1b2fd0e", "earlier_run_2a9880c"]


@pytest.fixture(scope="module", params=ARCHIVES)
def earlier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the earlier commit ran, with its data and model."""
    folder = tmp_path_factory.mktemp("earlier")
    with tarfile.open(Path(__file__).parent / f"{request.param}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def val_loss(run: Path) -> float:
    return float(json.loads((run / "results.json").read_text())["best"]["val_loss"])


def test_a_finished_earlier_run_is_shown(earlier: Path, train_py: Run) -> None:
    before = (earlier / "finished" / "results.json").read_bytes()
    done = train_py(*SETTINGS, "hydra.run.dir=finished", cwd=earlier)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is finished" in done.stdout
    assert f"{val_loss(earlier / 'finished'):.4f}" in done.stdout
    assert (earlier / "finished" / "results.json").read_bytes() == before


def test_an_interrupted_earlier_run_resumes_and_ends_about_as_it_would_have(earlier: Path, train_py: Run) -> None:
    """On a CPU dropout draws other masks since the oldest of them."""
    done = train_py(*SETTINGS, "hydra.run.dir=interrupted", cwd=earlier)
    assert done.returncode == 0, done.stderr
    assert "resumed at step 2" in done.stdout and done.stderr.count(": made by ") <= 1
    assert val_loss(earlier / "interrupted") == pytest.approx(val_loss(earlier / "finished"), abs=0.02)
    assert json.loads((earlier / "interrupted" / "results.json").read_text())["calibration"]


def test_a_new_run_is_compared_with_an_earlier_one(earlier: Path, train_py: Run) -> None:
    done = train_py(*SETTINGS, "seed=1", "hydra.run.dir=new", cwd=earlier)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(
        [sys.executable, "-m", "qa.compare", "finished", "new"], cwd=earlier, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "│ 42, 1 │" in done.stdout  # two seeds of one system: nothing else differs


def test_the_model_of_an_earlier_run_answers(earlier: Path) -> None:
    answer = QuestionAnswerer.from_pretrained(str(earlier / "finished" / "model"), "cpu", max_length=48, stride=8)
    text = "The bridge of Arlbrook was built in 1800."
    found = answer("When was the bridge of Arlbrook built?", text)
    assert text[found.start : found.end] == found.text and 0 < found.probability < 1
