"""Runs against each other: what is more than chance is said, and what is chance is not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from test_page import question

from qa import UserError
from qa.questions import write_questions
from qa.report import PerSplit, Results, Row
from qa.systems import compare, holm, read_run, systems


def run(
    folder: Path,
    rights: list[float],
    seed: int = 42,
    lr: float = 2e-5,
    paragraph: int = 2,
    epochs: int = 3,
    said: str = "grey",
    train: str = "ab12",
    **fields: Any,
) -> Path:
    """A finished run's folder whose question n, on context n // paragraph, is right or not."""
    folder.mkdir(parents=True)
    questions = [
        question(
            f"q{n:04}", "grey", said, exact_match=right, f1=right, context=f"{n // paragraph} grey {said}", **fields
        )
        for n, right in enumerate(rights)
    ]
    write_questions(folder, questions)
    row = Row(epoch=1, val_loss=2.0 + seed / 10, exact_match=100 * float(np.mean(rights)))
    empty = PerSplit()
    settings = {"seed": seed, "stage": "fit", "optimizer.lr": lr, "trainer.max_epochs": epochs}
    made: dict[str, Any] = {"settings": settings, "inputs": {"train": [train]}, "code": None, "versions": {}}
    results = Results(
        epochs=[row], best=row, windows=empty, examples=empty, windows_per_second=empty, devices=1, identity=made
    )
    (folder / "results.json").write_text(results.model_dump_json())
    return folder


def report(*folders: Path) -> dict[str, Any]:
    return compare(systems([read_run(folder) for folder in folders]))


def test_runs_of_several_seeds_are_one_system_named_by_what_differs(tmp_path: Path) -> None:
    right = [1.0, 0.0, 1.0, 1.0]
    folders = [run(tmp_path / "a", right, seed=1), run(tmp_path / "b", [1.0, 0.0, 0.0, 0.0], seed=2)]
    folders.append(run(tmp_path / "c", right, lr=5e-5))
    found = report(*folders)
    first, second = found["systems"]
    assert (first["name"], first["seeds"]) == ("optimizer.lr=2e-05", [1, 2])
    assert (first["exact_match"]["mean"], first["exact_match"]["std"]) == (50.0, pytest.approx(35.355339))
    assert first["val_loss"]["mean"] == pytest.approx(2.15)
    assert (second["name"], second["exact_match"]["std"]) == ("optimizer.lr=5e-05", None)
    assert found["fixes"][0]["only_other"] == [
        "q0002",
        "q0003",
    ]  # half of the first system's runs is not more than half
    assert found["pairs"][0]["difference"] == -25.0


def test_the_same_answers_are_no_difference_and_better_ones_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rights = (generator.random(200) < 0.5).astype(float).tolist()
    better = [1.0 if generator.random() < 0.5 else right for right in rights]
    found = report(
        run(tmp_path / "a", rights), run(tmp_path / "b", rights, lr=3e-5), run(tmp_path / "c", better, lr=5e-5)
    )
    same, more = found["pairs"][0], found["pairs"][2]
    assert (same["difference"], same["low"], same["high"], same["p"], same["p_corrected"]) == (0, 0, 0, 1, 1)
    assert more["difference"] < more["high"] < 0 and more["p_corrected"] < 0.01
    assert found["fixes"][1]["mcnemar_p"] < 1e-6


def test_questions_on_one_context_count_as_one_witness(tmp_path: Path) -> None:
    """Six contexts can be swapped in 64 ways: two of them are as far apart, however many questions each holds."""
    rights = [1.0] * 120
    found = report(run(tmp_path / "a", rights, paragraph=20), run(tmp_path / "b", [0.0] * 120, lr=5e-5, paragraph=20))
    assert found["pairs"][0]["p"] == pytest.approx(2 / 64)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_corrected_p_values_keep_their_order_and_grow(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(p <= q <= min(1, p * len(p_values)) or q <= 1 for p, q in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(corrected)[order]) >= 0)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_runs_of_other_lengths_are_other_systems_and_other_devices_are_not(tmp_path: Path) -> None:
    folders = [run(tmp_path / f"{epochs}-{seed}", [1.0], seed, epochs=epochs) for epochs in (2, 4) for seed in (1, 2)]
    found = report(*folders)["systems"]
    assert [(row["name"], row["seeds"]) for row in found] == [
        ("trainer.max_epochs=2", [1, 2]), ("trainer.max_epochs=4", [1, 2]),
    ]  # fmt: skip


def test_runs_on_other_data_are_other_systems(tmp_path: Path) -> None:
    folders = [run(tmp_path / f"{train}-{seed}", [1.0], seed, train=train) for train in ("ab", "cd") for seed in (1, 2)]
    found = report(*folders)["systems"]
    assert [(row["name"], row["seeds"]) for row in found] == [
        ("content of train=ab", [1, 2]), ("content of train=cd", [1, 2]),
    ]  # fmt: skip


def evaluation(fit: Path, folder: Path, checkpoint: str) -> Path:
    """As if a checkpoint of the fit had been evaluated in another folder."""
    shutil.copytree(fit, folder)
    results = json.loads((folder / "results.json").read_text())
    made = {"settings": {"seed": 42, "stage": "test"}, "inputs": {"test": ["ee"], "resume": [checkpoint]}}
    results["identity"] = {**made, "code": None, "versions": {}, "trained": results["identity"]}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_evaluations_belong_to_the_recipe_that_trained_them(tmp_path: Path) -> None:
    fits = [run(tmp_path / f"{lr}-{seed}", [1.0], seed, lr=lr) for lr in (1e-5, 2e-5) for seed in (1, 2)]
    folders = [evaluation(fit, tmp_path / f"test-{fit.name}", str(number)) for number, fit in enumerate(fits)]
    found = report(*folders)["systems"]
    assert [(row["name"], row["seeds"]) for row in found] == [
        ("optimizer.lr=1e-05", [1, 2]), ("optimizer.lr=2e-05", [1, 2]),
    ]  # fmt: skip
    two = [evaluation(fits[0], tmp_path / f"step-{step}", f"c{step}") for step in (10, 20)]
    found = report(*two)["systems"]
    assert [(row["name"], row["seeds"]) for row in found] == [
        ("content of the checkpoint=c10", [1]), ("content of the checkpoint=c20", [1]),
    ]  # fmt: skip


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    good = run(tmp_path / "good", [1.0])
    other = run(tmp_path / "other", [1.0], answers=["gray"])
    blind = run(tmp_path / "blind", [1.0])
    copy = shutil.copytree(good, tmp_path / "copy")
    write_questions(blind, [question("q0000", "a", "a", exact_match=None, f1=None)])
    far = run(tmp_path / "far", [1.0])
    write_questions(far, [question("elsewhere", "a", "a")])
    for folders, complaint in (
        ([tmp_path], "holds no finished run"),
        ([good, other], "other reference answers for the question 'q0000'"),
        ([blind], "no reference answers"),
        ([good, far], "share no question"),
        ([good, copy], "good and .*copy: the same settings, data and seed 42; give one of them"),
    ):
        with pytest.raises(UserError, match=complaint):
            report(*folders)


def test_the_command_line(tmp_path: Path) -> None:
    folders = [run(tmp_path / "a", [1.0, 0.0, 1.0]), run(tmp_path / "b", [1.0, 1.0], lr=5e-5)]
    files = [f"--json={tmp_path}/c.json", f"--html={tmp_path}/c.html"]
    command = [sys.executable, "-m", "qa.compare", *map(str, folders), *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "optimizer.lr=5e-05",
        "2 questions that all runs share",
        f"{folders[0]}: 1 further questions left out",
    ):
        assert words in done.stdout
    assert json.loads((tmp_path / "c.json").read_text())["systems"][1]["exact_match"]["mean"] == 100.0
    assert "optimizer.lr=5e-05" in (tmp_path / "c.html").read_text()
    done = subprocess.run([*command[:3], str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
