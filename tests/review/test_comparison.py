"""Runs against each other: what is more than chance is said, and what is chance is not."""

import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from helpers.finished_runs import WORDS, finished_run
from helpers.forked import python
from helpers.paths import ROOT
from helpers.questions import question
from qa.data.reading.overlap import Overlap
from qa.errors import UserError
from qa.evaluation.answers import NBestAnswer
from qa.evaluation.question_table import read_questions, write_questions
from qa.review.claims import Difference, claim
from qa.review.compare_page import as_page
from qa.review.compare_tables import as_latex, as_markdown, show, tex
from qa.review.comparison import SystemFigure, compare
from qa.review.systems import cross_fitted_run, read_run, systems
from qa.runs.folder import OURS
from qa.runs.predictions import at_threshold
from qa.runs.results import PerSplit, read_results
from qa.statistics.intervals import Clusters, clusters
from qa.storage import write_object


def report(*folders: Path, baseline: int | None = None) -> Any:
    """The `Comparison`, whose figures may all be None."""
    found = systems([read_run(folder) for folder in folders])
    return compare(found, None if baseline is None else found[baseline])


def test_runs_of_several_seeds_are_one_system_named_by_what_differs(tmp_path: Path) -> None:
    right = [1.0, 0.0, 1.0, 1.0]
    folders = [finished_run(tmp_path / "a", right, seed=1), finished_run(tmp_path / "b", [1.0, 0.0, 0.0, 0.0], seed=2)]
    folders.append(finished_run(tmp_path / "c", right, lr=5e-5))
    found = report(*folders)
    first, second = found.systems
    assert (first.name, first.seeds) == ("optimizer.lr=2e-05", [1, 2])
    assert (first.exact_match.mean, first.exact_match.std) == (50.0, pytest.approx(35.355339))
    assert first.question_loss == SystemFigure(1.0, 0.0)
    assert (second.name, second.exact_match.std) == ("optimizer.lr=5e-05", None)
    assert found.pairs[0].one == second.name  # the better one first
    assert found.pairs[0].difference == 25.0
    assert found.fixes[0].only_one == ["q0002", "q0003"]  # half of a system's runs is not more than half


def test_the_same_answers_are_no_difference_and_better_ones_are(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rights = (generator.random(200) < 0.5).astype(float).tolist()
    better = [1.0 if generator.random() < 0.5 else right for right in rights]
    found = report(
        finished_run(tmp_path / "a", rights),
        finished_run(tmp_path / "b", rights, lr=3e-5),
        finished_run(tmp_path / "c", better, lr=5e-5),
    )
    best, second, same = (row.weights for row in found.pairs)
    assert (same.difference, same.low, same.high, same.p, same.p_corrected) == (0, None, None, 1, 1)
    assert 0 < best.low < best.difference == second.difference and best.p_corrected < 0.01
    assert [row.recipe for row in found.pairs] == [None] * 3  # of one seed each nothing is known
    assert "One seed only, which may be a lucky one" in "".join(found.notes)


def test_figures_on_training_questions_are_not_called_a_little_too_good(tmp_path: Path) -> None:
    folders = [finished_run(tmp_path / str(seed), [1.0, 0.0] * 10, seed=seed) for seed in (1, 2)]
    for folder in folders:
        results = read_results(folder)
        results.windows = PerSplit(train=20, validation=20)  # a fit, whose epoch was chosen on these questions
        results.overlap = Overlap(contexts=10, of_contexts=10, questions=20, repeated=20, of_questions=20)
        (folder / "results.json").write_text(results.model_dump_json())
    notes = report(*folders).notes
    assert notes[-1] == "All 20 questions of the evaluation are training questions: its figures may show memory."
    assert not any("a little too good" in note for note in notes)


def test_questions_on_one_context_count_as_one_witness(tmp_path: Path) -> None:
    """Six contexts can be swapped in 64 ways: two of them are as far apart, however many questions each holds."""
    rights = [1.0] * 120
    found = report(
        finished_run(tmp_path / "a", rights, paragraph=20),
        finished_run(tmp_path / "b", [0.0] * 120, lr=5e-5, paragraph=20),
    )
    weights = found.pairs[0].weights
    assert (weights.p, weights.p_least, weights.low) == (2 / 64, 2 / 64, None)
    assert "6 paragraphs: too few for an interval, which takes 10." in found.notes
    assert found.systems[0].f1.low is None


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
    pairs = {(row.one[-5:], row.other[-5:]): row for row in found.pairs}
    swings, steady = pairs["1e-05", "2e-05"], pairs["2e-05", "3e-05"]
    assert swings.weights.p_corrected < 0.05 < swings.recipe.p_corrected
    assert swings.recipe.low < swings.weights.low
    assert swings.claim.better is None and steady.claim.better == "optimizer.lr=2e-05"
    said = swings.claim.sentence
    assert said.startswith("optimizer.lr=1e-05 and optimizer.lr=2e-05 cannot be told apart with these 200 questions")
    assert said.endswith("with other seeds and questions). More seeds would help most.")
    assert steady.recipe.p_corrected < 0.05
    assert steady.claim.sentence.startswith("optimizer.lr=2e-05 is better than optimizer.lr=3e-05 by ")


def test_what_is_said_of_a_pair_follows_its_figures(tmp_path: Path) -> None:
    """The interval is that of the better over the worse one; of a small difference, how many questions would tell."""
    folders = [
        finished_run(tmp_path / f"{lr}-{seed}", [1.0, 0.0] * 20 + [lr / 4] * 20, seed, lr=lr)
        for lr in (1.0, 2.0)
        for seed in (1, 2)
    ]
    found = systems([read_run(folder) for folder in folders])
    by = clusters(found[0].questions)

    def said(difference: float, by: Clusters = by, **recipe: Any) -> str:
        known = {"low": -25.0, "high": 75.0, "p_corrected": 0.3, "seeds_share": 0.1, **recipe}
        measured = Difference("F1", difference, None, None, None, None, None)
        return claim(found[0], found[1], measured, replace(measured, **known), by).sentence

    assert said(25).endswith("+25.00 F1 (-25.00 to 75.00 with other seeds and questions). That would take about"
                             " 200 questions, or more seeds.")  # fmt: skip
    assert said(2).endswith("The difference is next to nothing.")
    assert said(5, low=1.0, high=9.0).endswith("(1.00 to 9.00 with other seeds and questions). Among so many pairs"
                                               " chance gives such a difference.")  # fmt: skip
    assert said(-50, low=-75.0, high=-25.0, p_corrected=0.01) == (
        "optimizer.lr=2.0 is better than optimizer.lr=1.0 by 50.00 F1, more than chance explains (25.00 to 75.00 with"
        " other seeds and questions)."
    )
    assert said(25, low=None) == (
        "optimizer.lr=1.0 against optimizer.lr=2.0: +25.00 F1 on each of the 30 paragraphs alike, so that chance cannot"
        " be estimated."
    )
    few = by._replace(sizes=by.sizes[:9])
    assert said(25, few, low=None).endswith("+25.00 F1 on 9 paragraphs, too few to tell.")


@pytest.mark.parametrize("seeds", [(1, 1), (1, 3), (3, 1)])
def test_of_one_seed_nothing_is_claimed_anywhere(seeds: tuple[int, int], tmp_path: Path) -> None:
    """Each word of terminal, page, JSON, Markdown and LaTeX, of systems that are far apart."""
    generator = np.random.default_rng(0)
    folders = [
        finished_run(tmp_path / f"{lr}-{seed}", rights(generator, lr), seed, lr=lr)
        for lr, count in zip((0.9, 0.2), seeds, strict=True)
        for seed in range(count)
    ]
    found = systems([read_run(folder) for folder in folders])
    for baseline in (None, *found):
        made: Any = compare(found, baseline)
        assert made.pairs[0].weights.p_corrected < 0.001
        assert made.pairs[0].claim.better is None
        terminal = Console(file=io.StringIO(), width=200, record=True)
        show(made, terminal)
        page = as_page(made, found)
        paper = as_markdown(made), as_latex(made)
        for words in (terminal.export_text(), page.partition("</style>")[2], made.as_json(), *paper):
            said = words.replace('"better": null', "")
            assert not re.search(r"better|worse|more than chance|wins|signific| \*|class=.real|cannot be told", said)
            assert ("One seed each" in said) == (seeds == (1, 1))
            assert "ne seed of optimizer.lr=" in said or seeds == (1, 1)


def test_one_figure_decides_and_the_other_has_no_test(tmp_path: Path) -> None:
    for monitor, primary in (("val_loss", "F1"), ("exact_match", "EM")):
        folders = [finished_run(tmp_path / f"{monitor}-{lr}", [1.0, lr], lr=lr, monitor=monitor) for lr in (0.0, 1.0)]
        found = report(*folders)
        assert found.primary == primary
        assert [row.figure for row in found.pairs] == [primary]
        assert found.pairs[0].secondary.figure != primary
        assert found.pairs[0].secondary.p_corrected is None


def test_kinds_on_few_contexts_are_rounded_as_on_the_page_of_a_run(tmp_path: Path) -> None:
    few, many = [1.0, 0.0, 1.0], [1.0, 0.0, 0.0] * 10
    folder = finished_run(tmp_path / "a", [*many, *few])
    questions = [
        q._replace(question="Who?" if row >= len(many) else "When?") for row, q in enumerate(read_questions(folder))
    ]
    write_questions(folder, questions)
    made = report(folder)
    assert "| when | 30 | 33.3 / 33.3 |\n| who | 3 | ≈ 67 / 67 |\n\n≈: on fewer than 10 contexts" in as_markdown(made)
    page = as_page(made, systems([read_run(folder)]))
    assert re.search(r'<tr class="few"><td>who</td><td>3</td>\s*<td>≈ 67 / 67</td>', page)


def test_what_latex_takes_for_commands_is_text() -> None:
    assert tex("50% of a_b & {c}\\~^ ± 1\n<2") == (
        r"50\% of a\_b \& \{c\}\textbackslash{}\textasciitilde{}\textasciicircum{} $\pm$ 1 $<$2"
    )


def test_which_pairs_are_tested_is_reported_and_the_best_meets_the_second(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    shares = [0.2, 0.9, 0.3, 0.8, 0.4, 0.5, 0.6]
    folders = [
        finished_run(tmp_path / str(n), rights(generator, share), lr=float(n), seed=n) for n, share in enumerate(shares)
    ]
    best, second = "optimizer.lr=1.0", "optimizer.lr=3.0"
    few, many, against = report(*folders[:3]), report(*folders), report(*folders, baseline=0)
    assert (len(few.pairs), few.tested) == (3, "all pairs")
    assert [row.one for row in many.pairs] == [best] * 6
    assert many.pairs[0].other == second
    assert many.tested == f"{best}, the highest, against each other system, corrected for all 21 pairs"
    assert many.pairs[0].weights.p_corrected >= min(1, 16 * many.pairs[0].weights.p)
    assert [row.other for row in against.pairs] == ["optimizer.lr=0.0"] * 6 + [second]
    assert against.pairs[6].one == best
    assert against.tested.startswith("each against the baseline, optimizer.lr=0.0; and the two highest against")


def test_the_loss_is_that_of_the_shared_questions_and_zero_is_a_loss(tmp_path: Path) -> None:
    long = finished_run(tmp_path / "a", [1.0, 1.0, 1.0], loss=0.0)
    write_questions(long, [q._replace(loss=5.0 * (q.id == "q0002")) for q in read_questions(long)])
    found = report(long, finished_run(tmp_path / "b", [1.0, 1.0], lr=5e-5, loss=0.5))
    assert [row.question_loss.mean for row in found.systems] == [0.0, 0.5]
    assert any(note.startswith("WARNING: more than 20% of a run's questions are skipped") for note in found.notes)
    assert f"{long}: 1 further question skipped." in found.notes


def test_what_chose_is_reported_where_it_was_trained_and_not_where_it_was_tested(tmp_path: Path) -> None:
    folder = finished_run(tmp_path / "a", [1.0])
    assert not any("also used to choose" in note for note in report(folder).notes)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "windows": {"train": 8}}))
    notes = " ".join(report(folder).notes)
    assert "also used to choose" in notes and "stage=test data=local data.test_file=" in notes
    for content, said in (("ab12", True), ("cd34", False)):  # evaluated again on the file that chose, and on another
        trained = {"settings": results["identity"]["settings"], "inputs": {"validation": ["ab12"]}}
        settings = {**results["identity"]["settings"], "stage": "test"}
        made = {**results["identity"], "settings": settings, "inputs": {"test": [content]}, "trained": trained}
        (folder / "results.json").write_text(json.dumps({**results, "identity": made}))
        assert any("also used to choose" in note for note in report(folder).notes) is said


def v2_fit(folder: Path, shift: float, slips: int, lr: float) -> Path:
    """A fit on 40 questions, every second without an answer: null odds above `shift` tell which, but for `slips`."""
    finished_run(folder, [1.0] * 40, lr=lr, answers=[], answer_starts=[])
    questions, nbest = [], {}
    for row, blank in enumerate(read_questions(folder)):
        answers, odds = ["grey"] if row % 2 else [], shift + (-1 if (row % 2 == 1) is (row >= slips) else 1)
        nbest[blank.id] = [NBestAnswer("grey", 0.0, 0.5, 0, 4), NBestAnswer("", odds, 0.5, 0, 0)]
        again = blank._replace(answers=answers, answer_starts=[0] * len(answers))
        questions.append(at_threshold(again, nbest[blank.id], 0.0))
    write_questions(folder, questions)
    write_object(folder / "nbest.json", ((name, [a._asdict() for a in answers]) for name, answers in nbest.items()))
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, "no_answer_threshold": 0.0}))
    return folder


def test_fits_on_squad_v2_are_compared_at_thresholds_that_do_not_know_the_question(tmp_path: Path) -> None:
    """At threshold 0 the first answers nothing, though its odds tell all questions apart."""
    runs = [read_run(v2_fit(tmp_path / str(slips), shift, slips, 1.0 + slips)) for shift, slips in ((5, 0), (0, 8))]
    before: Any = compare(systems(runs))
    assert [row.f1.mean for row in before.systems] == [50.0, 80.0]
    assert not any("threshold" in note for note in before.notes)
    after: Any = compare(systems([cross_fitted_run(run) for run in runs]))
    assert [row.f1.mean for row in after.systems] == [100.0, 80.0]
    assert after.pairs[0].one == "optimizer.lr=1.0"
    assert any("best for F1 on the other half" in note for note in after.notes)


def test_a_run_with_a_threshold_of_its_own_and_one_without_candidates_stay_as_they_are(tmp_path: Path) -> None:
    run = read_run(v2_fit(tmp_path / "a", 5, 0, 1.0))
    for threshold in (None, 5.0):
        results = run.results.model_copy(update={"no_answer_threshold": threshold})
        same = run._replace(results=results)
        assert cross_fitted_run(same) is same
    one = {name: q._replace(context="the only one") for name, q in run.questions.items()}
    assert [q.f1 for q in cross_fitted_run(run._replace(questions=one)).questions.values()] == [1.0, 0.0] * 20
    (run.folder / "nbest.json").unlink()
    assert cross_fitted_run(run) is run


def test_runs_of_other_lengths_are_other_systems_and_other_devices_are_not(tmp_path: Path) -> None:
    folders = [
        finished_run(tmp_path / f"{epochs}-{seed}", [1.0], seed, epochs=epochs) for epochs in (2, 4) for seed in (1, 2)
    ]
    found = report(*folders).systems
    assert [(row.name, row.seeds) for row in found] == [
        ("trainer.max_epochs=2", [1, 2]), ("trainer.max_epochs=4", [1, 2]),
    ]  # fmt: skip


def test_runs_on_other_data_are_other_systems(tmp_path: Path) -> None:
    folders = [
        finished_run(tmp_path / f"{train}-{seed}", [1.0], seed, train=train)
        for train in ("ab", "cd")
        for seed in (1, 2)
    ]
    found = report(*folders).systems
    assert [(row.name, row.seeds) for row in found] == [
        ("content of train=ab", [1, 2]), ("content of train=cd", [1, 2]),
    ]  # fmt: skip


def evaluation(fit: Path, folder: Path, weights: str, role: str = "resume", step: int = 10, cut: Any = None) -> Path:
    """As if a checkpoint of the fit, or its model, had been evaluated in another folder, at a threshold or at none."""
    shutil.copytree(fit, folder)
    results = json.loads((folder / "results.json").read_text())
    made = {"settings": {"seed": 42, "stage": "test"}, "inputs": {"test": ["ee"], role: [weights]}}
    trained = {**results["identity"], "step": step}
    results["identity"] = {**made, "code": None, "versions": {}, "trained": trained}
    results["no_answer_threshold"] = cut
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_evaluations_belong_to_the_recipe_that_trained_them(tmp_path: Path) -> None:
    fits = [finished_run(tmp_path / f"{lr}-{seed}", [1.0], seed, lr=lr) for lr in (1e-5, 2e-5) for seed in (1, 2)]
    folders = [
        evaluation(fit, tmp_path / f"test-{fit.name}", str(number), role)
        for number, (fit, role) in enumerate(zip(fits, ("resume", "model") * 2, strict=True))
    ]
    found = report(*folders).systems
    assert [(row.name, row.seeds) for row in found] == [
        ("optimizer.lr=1e-05", [1, 2]), ("optimizer.lr=2e-05", [1, 2]),
    ]  # fmt: skip
    two = [evaluation(fits[0], tmp_path / f"step-{step}", f"c{step}", step=step) for step in (10, 20)]
    two.append(evaluation(fits[0], tmp_path / "calibrated", "c", "model", cut=-1.5))
    found = report(*two).systems
    assert [(row.name, row.seeds) for row in found] == [
        ("weights=step 10", [1]), ("weights=step 20", [1]), ("weights=step 10, threshold -1.5", [1]),
    ]  # fmt: skip
    again = evaluation(fits[0], tmp_path / "model", "c", "model")
    with pytest.raises(UserError, match=r"step-10 and .*model: the same settings, data and seed 1; give one of them"):
        report(two[0], again)


def test_the_seed_of_an_evaluation_is_no_seed_of_a_recipe(tmp_path: Path) -> None:
    """Of a model whose training is not known: all of its evaluations have the same weights."""
    generator, folders = np.random.default_rng(0), {}
    for model, share in (("aa", 0.9), ("bb", 0.2)):
        right = rights(generator, share)
        for seed in (1, 2):
            folder = folders[model, seed] = finished_run(tmp_path / f"{model}-{seed}", right)
            results = json.loads((folder / "results.json").read_text())
            results["identity"]["settings"] = {"seed": seed, "stage": "test"}
            results["identity"]["inputs"] = {"test": ["ee"], "model": [model]}
            (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"aa-1 and .*aa-2: the same weights and data; give one of them"):
        report(*folders.values())
    found = report(folders["aa", 1], folders["bb", 2])
    assert [row.seeds for row in found.systems] == [[], []]
    assert found.pairs[0].claim.better is None


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
    (tmp_path / "part" / ".hydra").mkdir(parents=True)  # of a run that was killed
    (tmp_path / "part" / ".hydra" / "config.yaml").write_text("".join(f"{key}: fit\n" for key in OURS))
    for folders, complaint in (
        ([tmp_path], "holds no finished run"),
        ([good, tmp_path / "part"], "part: its run is not at its end; start its command again to finish it"),
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
    files = [f"--{kind}={tmp_path}/new/c.{kind}" for kind in ("json", "html", "markdown", "latex")]
    command = [python(), "-m", "qa.compare", *map(str, folders), *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "optimizer.lr=5e-05",
        "2 questions that all runs share",
        f"{folders[0]}: 1 further question skipped",
    ):
        assert words in done.stdout
    files = [(tmp_path / "new" / f"c.{kind}").read_text() for kind in ("json", "html", "markdown", "latex")]
    assert json.loads(files[0])["systems"][1]["exact_match"]["mean"] == 100.0
    assert "optimizer.lr=5e-05" in files[1]
    assert "| optimizer.lr=5e-05 | 42 | 100.00 | – | 100.00 | – | 1.0000 |\n" in files[2]
    assert r"optimizer.lr=5e-05 & 42 & 100.00 & -- & 100.00 & -- & 1.0000 \\" in files[3]
    done = subprocess.run([*command[:3], str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
