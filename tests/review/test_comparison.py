"""Runs against each other: what is more than chance is said, and what is chance is not."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.finished_runs import WORDS, finished_run
from helpers.paths import ROOT
from helpers.questions import question
from qa.errors import UserError
from qa.evaluation.question_table import read_questions, write_questions
from qa.review.comparison import compare, headline, verdict
from qa.review.systems import read_run, systems


def report(*folders: Path, baseline: int | None = None) -> dict[str, Any]:
    found = systems([read_run(folder) for folder in folders])
    return compare(found, None if baseline is None else found[baseline])


def test_runs_of_several_seeds_are_one_system_named_by_what_differs(tmp_path: Path) -> None:
    right = [1.0, 0.0, 1.0, 1.0]
    folders = [finished_run(tmp_path / "a", right, seed=1), finished_run(tmp_path / "b", [1.0, 0.0, 0.0, 0.0], seed=2)]
    folders.append(finished_run(tmp_path / "c", right, lr=5e-5))
    found = report(*folders)
    first, second = found["systems"]
    assert (first["name"], first["seeds"]) == ("optimizer.lr=2e-05", [1, 2])
    assert (first["exact_match"]["mean"], first["exact_match"]["std"]) == (50.0, pytest.approx(35.355339))
    assert first["question_loss"] == {"mean": 1.0, "std": 0.0}
    assert (second["name"], second["exact_match"]["std"]) == ("optimizer.lr=5e-05", None)
    assert found["pairs"][0]["one"] == second["name"]  # the better one first
    assert found["pairs"][0]["difference"] == 25.0
    assert found["fixes"][0]["only_one"] == ["q0002", "q0003"]  # half of a system's runs is not more than half


def test_the_same_answers_are_no_difference_and_better_ones_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rights = (generator.random(200) < 0.5).astype(float).tolist()
    better = [1.0 if generator.random() < 0.5 else right for right in rights]
    found = report(
        finished_run(tmp_path / "a", rights),
        finished_run(tmp_path / "b", rights, lr=3e-5),
        finished_run(tmp_path / "c", better, lr=5e-5),
    )
    best, second, same = (row["weights"] for row in found["pairs"])
    assert (same["difference"], same["low"], same["high"], same["p"], same["p_corrected"]) == (0, None, None, 1, 1)
    assert 0 < best["low"] < best["difference"] == second["difference"] and best["p_corrected"] < 0.01
    assert [row["recipe"] for row in found["pairs"]] == [None] * 3  # of one seed each nothing is known
    assert "One seed each, which may be a lucky one" in "".join(found["notes"])
    assert verdict(found["pairs"][0]).endswith("one seed each: another may give another result.")


def test_questions_on_one_context_count_as_one_witness(tmp_path: Path) -> None:
    """Six contexts can be swapped in 64 ways: two of them are as far apart, however many questions each holds."""
    rights = [1.0] * 120
    found = report(
        finished_run(tmp_path / "a", rights, paragraph=20),
        finished_run(tmp_path / "b", [0.0] * 120, lr=5e-5, paragraph=20),
    )
    weights = found["pairs"][0]["weights"]
    assert (weights["p"], weights["p_least"], weights["low"]) == (2 / 64, 2 / 64, None)
    assert "6 paragraphs: too few for an interval, which takes 10." in found["notes"]
    assert found["systems"][0]["f1"]["low"] is None


def rights(generator: np.random.Generator, share: float) -> list[float]:
    return [float(drawn < share) for drawn in generator.random(200)]


def test_a_recipe_is_better_where_other_seeds_would_say_so_too(tmp_path: Path) -> None:
    """Rate 1 swings from seed to seed by more than it is ahead; rate 2 is steadily better than rate 3."""
    generator = np.random.default_rng(0)
    shares = {1e-5: [0.9, 0.5], 2e-5: [0.6, 0.61, 0.6], 3e-5: [0.3, 0.31, 0.29]}
    folders = [
        finished_run(tmp_path / f"{rate}-{seed}", rights(generator, share), seed=seed, lr=rate)
        for rate, own in shares.items()
        for seed, share in enumerate(own)
    ]
    found = report(*folders)
    pairs = {(row["one"][-5:], row["other"][-5:]): row for row in found["pairs"]}
    swings, steady = pairs["1e-05", "2e-05"], pairs["2e-05", "3e-05"]
    assert swings["weights"]["p_corrected"] < 0.05 < swings["recipe"]["p_corrected"]
    assert swings["recipe"]["low"] < swings["weights"]["low"]
    assert headline(found).endswith(
        "cannot be told apart with these 200 questions and these seeds; more seeds would help most."
    )
    assert headline({**found, "pairs": [steady]}).startswith("optimizer.lr=2e-05 is better than optimizer.lr=3e-05 by ")
    assert "cannot be told apart" in verdict(swings) and "more seeds would narrow that most" in verdict(swings)
    assert steady["recipe"]["p_corrected"] < 0.05
    assert verdict(steady).startswith("optimizer.lr=2e-05 is better than optimizer.lr=3e-05: +")


def test_the_first_sentence_says_how_many_questions_would_tell(tmp_path: Path) -> None:
    found = report(
        finished_run(tmp_path / "a", [1.0, 0.0] * 20), finished_run(tmp_path / "b", [1.0, 0.0, 1.0, 1.0] * 10, lr=5e-5)
    )
    row = found["pairs"][0]
    row["weights"].update(difference=25.0, low=-25.0, high=75.0, p_corrected=0.3)
    words = (
        "optimizer.lr=5e-05 and optimizer.lr=2e-05 cannot be told apart with these 40 questions; that would take about"
    )
    assert headline(found) == f"{words} 200 questions, or more seeds."
    row["weights"].update(low=None, high=None, p_corrected=None)
    assert headline(found).endswith("with these 40 questions: they are on 20 paragraphs, too few to tell.")


def test_one_figure_decides_and_the_other_has_no_test(tmp_path: Path) -> None:
    for monitor, primary in (("val_loss", "F1"), ("exact_match", "EM")):
        folders = [finished_run(tmp_path / f"{monitor}-{lr}", [1.0, lr], lr=lr, monitor=monitor) for lr in (0.0, 1.0)]
        found = report(*folders)
        assert found["primary"] == primary
        assert [row["figure"] for row in found["pairs"]] == [primary]
        assert found["pairs"][0]["secondary"]["figure"] != primary
        assert found["pairs"][0]["secondary"]["p_corrected"] is None


def test_which_pairs_are_tested_is_reported_and_the_best_meets_the_second(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    shares = [0.2, 0.9, 0.3, 0.8, 0.4, 0.5, 0.6]
    folders = [
        finished_run(tmp_path / str(n), rights(generator, share), lr=float(n), seed=n) for n, share in enumerate(shares)
    ]
    best, second = "optimizer.lr=1.0", "optimizer.lr=3.0"
    few, many, against = report(*folders[:3]), report(*folders), report(*folders, baseline=0)
    assert (len(few["pairs"]), few["tested"]) == (3, "all pairs")
    assert [row["one"] for row in many["pairs"]] == [best] * 6
    assert many["pairs"][0]["other"] == second
    assert many["tested"] == f"the best, {best}, against each other, corrected for all 21 pairs"
    assert many["pairs"][0]["weights"]["p_corrected"] >= min(1, 16 * many["pairs"][0]["weights"]["p"])
    assert [row["other"] for row in against["pairs"]] == ["optimizer.lr=0.0"] * 6 + [second]
    assert against["pairs"][6]["one"] == best
    assert against["tested"].startswith("each against the baseline, optimizer.lr=0.0; and the best against the second")


def test_the_loss_is_that_of_the_shared_questions_and_zero_is_a_loss(tmp_path: Path) -> None:
    long = finished_run(tmp_path / "a", [1.0, 1.0, 1.0], loss=0.0)
    write_questions(long, [q._replace(loss=5.0 * (q.id == "q0002")) for q in read_questions(long)])
    found = report(long, finished_run(tmp_path / "b", [1.0, 1.0], lr=5e-5, loss=0.5))
    assert [row["question_loss"]["mean"] for row in found["systems"]] == [0.0, 0.5]
    assert any(note.startswith("WARNING: more than 20% of a run's questions are skipped") for note in found["notes"])
    assert f"{long}: 1 further question skipped." in found["notes"]


def test_what_chose_is_reported_where_it_was_trained_and_not_where_it_was_tested(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "a", [1.0])
    assert not any("Chosen on this set" in note for note in report(folder)["notes"])
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "windows": {"train": 8}}))
    notes = " ".join(report(folder)["notes"])
    assert "Chosen on this set" in notes and "stage=test data.test_file=" in notes
    for content, said in (("ab12", True), ("cd34", False)):  # evaluated again on the file that chose, and on another
        trained = {"settings": results["identity"]["settings"], "inputs": {"validation": ["ab12"]}}
        settings = {**results["identity"]["settings"], "stage": "test"}
        made = {**results["identity"], "settings": settings, "inputs": {"test": [content]}, "trained": trained}
        (folder / "results.json").write_text(json.dumps({**results, "identity": made}))
        assert any("Chosen on this set" in note for note in report(folder)["notes"]) is said


def test_runs_of_other_lengths_are_other_systems_and_other_devices_are_not(tmp_path: Path) -> None:
    folders = [
        finished_run(tmp_path / f"{epochs}-{seed}", [1.0], seed, epochs=epochs) for epochs in (2, 4) for seed in (1, 2)
    ]
    found = report(*folders)["systems"]
    assert [(row["name"], row["seeds"]) for row in found] == [
        ("trainer.max_epochs=2", [1, 2]), ("trainer.max_epochs=4", [1, 2]),
    ]  # fmt: skip


def test_runs_on_other_data_are_other_systems(tmp_path: Path) -> None:
    folders = [
        finished_run(tmp_path / f"{train}-{seed}", [1.0], seed, train=train)
        for train in ("ab", "cd")
        for seed in (1, 2)
    ]
    found = report(*folders)["systems"]
    assert [(row["name"], row["seeds"]) for row in found] == [
        ("content of train=ab", [1, 2]), ("content of train=cd", [1, 2]),
    ]  # fmt: skip


def evaluation(fit: Path, folder: Path, weights: str, role: str = "resume") -> Path:
    """As if a checkpoint of the fit, or its model, had been evaluated in another folder."""
    shutil.copytree(fit, folder)
    results = json.loads((folder / "results.json").read_text())
    made = {"settings": {"seed": 42, "stage": "test"}, "inputs": {"test": ["ee"], role: [weights]}}
    results["identity"] = {**made, "code": None, "versions": {}, "trained": results["identity"]}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_evaluations_belong_to_the_recipe_that_trained_them(tmp_path: Path) -> None:
    fits = [finished_run(tmp_path / f"{lr}-{seed}", [1.0], seed, lr=lr) for lr in (1e-5, 2e-5) for seed in (1, 2)]
    folders = [
        evaluation(fit, tmp_path / f"test-{fit.name}", str(number), role)
        for number, (fit, role) in enumerate(zip(fits, ("resume", "model") * 2, strict=True))
    ]
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
    good = finished_run(tmp_path / "good", [1.0])
    other = finished_run(tmp_path / "other", [1.0], answers=["gray"])
    moved = finished_run(tmp_path / "moved", [1.0], context=f"elsewhere {WORDS}")
    asked = finished_run(tmp_path / "asked", [1.0], question="Why?")
    blind = finished_run(tmp_path / "blind", [1.0])
    copy = shutil.copytree(good, tmp_path / "copy")
    write_questions(blind, [question("q0000", "a", "a", exact_match=None, f1=None)])
    far = finished_run(tmp_path / "far", [1.0])
    write_questions(far, [question("elsewhere", "a", "a")])
    for folders, complaint in (
        ([tmp_path], "holds no finished run"),
        ([good, other], "other reference answers for the id 'q0000'"),
        ([good, moved], "another context for the id 'q0000'"),
        ([good, asked], "another question for the id 'q0000'"),
        ([blind], "no reference answers"),
        ([good, far], "share no question"),
        ([good, copy], "good and .*copy: the same settings, data and seed 42; give one of them"),
    ):
        with pytest.raises(UserError, match=complaint):
            report(*folders)


@pytest.mark.slow
def test_the_command_line(tmp_path: Path) -> None:
    folders = [finished_run(tmp_path / "a", [1.0, 0.0, 1.0]), finished_run(tmp_path / "b", [1.0, 1.0], lr=5e-5)]
    files = [f"--json={tmp_path}/c.json", f"--html={tmp_path}/c.html"]
    command = [sys.executable, "-m", "qa.compare", *map(str, folders), *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "optimizer.lr=5e-05",
        "2 questions that all runs share",
        f"{folders[0]}: 1 further question skipped",
    ):
        assert words in done.stdout
    assert json.loads((tmp_path / "c.json").read_text())["systems"][1]["exact_match"]["mean"] == 100.0
    assert "optimizer.lr=5e-05" in (tmp_path / "c.html").read_text()
    done = subprocess.run([*command[:3], str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
