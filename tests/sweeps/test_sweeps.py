"""Sweeps and searches as a user runs them: which jobs run, what is left of them, and how it goes on."""

import json
import math
import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from helpers.commands import Run, quick_fit, started
from helpers.forked import python
from helpers.paths import ROOT
from helpers.wandb_file import records
from qa.config.settings import SweepSettings
from qa.config.wording import validated
from qa.errors import UserError
from qa.internals import live_trial
from qa.review.systems import read_run, systems
from qa.runs.results import Monitor, Row
from qa.sweeps.engines import Job, Processes, device_slots, run_jobs
from qa.sweeps.rows import ROW_COLUMNS, SweepRow, notes, warnings
from qa.sweeps.search import Search
from qa.sweeps.study import by_share, open_study
from qa.sweeps.sweep import Sweep, finished_jobs
from qa.sweeps.tables import effects

Files = tuple[Path, Path]
pytestmark = pytest.mark.timeout(600)
PRUNER = {"_target_": "optuna.pruners.NopPruner"}


@pytest.fixture
def small(small_files: Files, exact: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.getbasetemp() / "sweeps-cache"
    return ["-m", *quick_fit(small_files, exact, cache, "trainer.max_epochs=2")]


def table(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "sweep.json").read_text())
    return rows


@pytest.fixture(scope="module")
def swept(
    small_files: Files, exact: Path, train_py: Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str], str]:
    """Three jobs, two at once, of which one has an impossible rate: the folder, the arguments, what was said."""
    folder = tmp_path_factory.mktemp("swept") / "rates"
    arguments = [
        "-m", *quick_fit(small_files, exact, folder.parent / "cache", "trainer.max_epochs=2"),
        "optimizer.lr=1e-3,-1,3e-3", "sweep.keep_best=1", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={folder}",
    ]  # fmt: skip
    done = train_py(*arguments)
    assert done.returncode == 2
    return folder, arguments, done.stdout + done.stderr


def test_jobs_run_at_once_and_one_that_fails_is_a_row_with_its_error(swept: tuple[Path, list[str], str]) -> None:
    folder, _, said = swept
    rows = table(folder)
    assert [row["settings"] for row in rows] == [{"optimizer.lr": lr} for lr in (0.001, -1, 0.003)]
    assert [row["status"] for row in rows] == ["finished", "failed", "finished"]
    assert rows[1]["error"] == "optimizer: Invalid learning rate: -1"
    assert "ERROR: job 1 (optimizer.lr=-1): optimizer: Invalid learning rate: -1" in said
    for row in (rows[0], rows[2]):
        best = json.loads((folder / row["folder"] / "results.json").read_text())["best"]
        assert {name: row[name] for name in ("epoch", "val_loss", "exact_match", "f1")} == {
            name: best[name] for name in ("epoch", "val_loss", "exact_match", "f1")
        }
    assert (
        f"| 2 | optimizer.lr=0.003 | finished | 2.0 | {rows[2]['val_loss']:.4f} |" in (folder / "sweep.md").read_text()
    )
    assert f"better, or chance?       python -m qa.compare {folder}\nopen {folder}/sweep.html\n" in said
    assert f"sh {folder}/best.sh\n" in said
    assert (folder / "sweep.csv").read_text().startswith("job,overrides,status,epoch,val_loss,")
    assert len(list((folder.parent / "cache").glob("*.safetensors"))) == 2  # windows of two splits, built once


def test_what_a_sweep_takes_is_reported_first_and_the_best_jobs_keep_their_checkpoints(
    swept: tuple[Path, list[str], str],
) -> None:
    folder, _, said = swept
    assert re.match(r"3 jobs: checkpoints and model take up to [\d.]+ MB, ", said)
    finished = [row for row in table(folder) if row["status"] == "finished"]
    best, other = sorted(finished, key=lambda row: row["val_loss"])
    for name in ("checkpoints", "model"):
        assert (folder / best["folder"] / name).is_dir()
        assert not (folder / other["folder"] / name).exists()
    assert (folder / other["folder"] / "report.html").exists()
    last = (folder / "best.sh").read_text().splitlines()[-1]
    assert last.startswith("exec python train.py data=local ")
    assert f" optimizer.lr={best['settings']['optimizer.lr']} " in last


def test_the_same_command_leaves_what_is_finished_and_starts_the_rest(
    swept: tuple[Path, list[str], str], train_py: Run
) -> None:
    """Also a job that was cut off when all but its row was written, which gets its figures."""
    folder, arguments, _ = swept
    before = table(folder)
    cut = [{**row, "status": "interrupted", "val_loss": None} if row["job"] == 2 else row for row in before]
    (folder / "sweep.json").write_text(json.dumps(cut))
    again = [word.replace("1e-3,-1,3e-3", "1e-3,3e-3,-1,2e-3") for word in arguments]
    done = train_py(*again, "sweep.resume=true")
    assert done.returncode == 2
    assert re.findall(r"^job (\d+): .* → ", done.stdout, re.MULTILINE) == ["2", "1", "3"]
    rows = table(folder)
    assert rows[0] == before[0]
    assert {**rows[2], "minutes": 0, "arguments": []} == {**before[2], "minutes": 0, "arguments": []}
    # another fixed setting would make other jobs of them: nothing is touched, what differs is named
    held = (folder / "sweep.json").read_bytes()
    done = train_py(*arguments, "checkpoint.monitor=f1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{folder}/0: holds a run of other settings or data: checkpoint.monitor (val_loss there, f1" in done.stderr
    assert (folder / "sweep.json").read_bytes() == held
    assert (rows[3]["settings"], rows[3]["status"]) == ({"optimizer.lr": 0.002}, "finished")


@pytest.mark.guarantee("A killed sweep keeps its finished jobs and resumes the others")
def test_a_sweep_killed_in_the_middle_resumes_the_job_that_was_cut(
    small: list[str], train_py: Run, tmp_path: Path
) -> None:
    arguments = [*small, "seed=1,2", "checkpoint.every_n_steps=1"]
    process = started([*arguments, f"hydra.sweep.dir={tmp_path}"], tmp_path / "1" / "checkpoints" / "last.ckpt")
    process.kill()
    process.communicate()
    first, second = table(tmp_path)
    assert (first["status"], second["status"]) == ("finished", "started")
    done = train_py(*arguments, f"hydra.sweep.dir={tmp_path}")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^job (\d): .* → ", done.stdout, re.MULTILINE) == ["1"]
    assert "resumed at step" in done.stdout
    assert "\nQ  " not in done.stdout  # answers of one of many jobs help nobody
    assert table(tmp_path)[0] == first
    assert table(tmp_path)[1]["status"] == "finished"
    (system,) = systems([read_run(folder) for folder in finished_jobs(tmp_path)])
    assert [run.seed for run in system.runs] == [1, 2]  # they differ in their seed alone, and all that follows it
    # the best setting's command is this sweep again, of which nothing is left to run
    path = {**os.environ, "HF_HUB_OFFLINE": "1", "PATH": f"{Path(python()).parent}:{os.environ['PATH']}"}
    command = ["sh", str(tmp_path / "best.sh"), f"hydra.sweep.dir={tmp_path}"]
    again = subprocess.run(command, cwd=ROOT, env=path, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (0, "")
    assert " → " not in again.stdout and "mean ± standard deviation over seeds" in again.stdout


def test_ctrl_c_ends_all_jobs_and_leaves_whole_folders(small: list[str], tmp_path: Path) -> None:
    arguments = [*small, "trainer.max_epochs=900", "seed=1,2,3", "hydra.launcher.n_jobs=2"]
    jobs = tmp_path / "0", tmp_path / "1"
    process = started([*arguments, f"hydra.sweep.dir={tmp_path}"], *(job / "metrics.csv" for job in jobs), fresh=True)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=90)
    assert process.returncode == 130
    assert said.startswith("interrupted; resume where it ended by: python ")
    assert [row["status"] for row in table(tmp_path)] == ["interrupted", "interrupted"]
    for job in jobs:
        assert (job / "checkpoints" / "last.ckpt").exists()
        assert "SIGINT" in (job / "interrupted.txt").read_text()
    assert sorted(re.findall(r"^job (\d): interrupted", shown, re.MULTILINE)) == ["0", "1"]


@pytest.mark.long
def test_submitit_runs_two_jobs_here_as_on_a_cluster_and_wandb_has_them_in_one_group(
    small: list[str], train_py: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "rates"
    done = train_py(
        *small, "logger=wandb", "logger.mode=offline", "optimizer.lr=1e-3,-1", "hydra/launcher=submitit_local",
        f"hydra.sweep.dir={folder}",
    )  # fmt: skip
    assert done.returncode == 2
    first, second = table(folder)
    assert (first["status"], first["f1"] is not None) == ("finished", True)
    assert (second["status"], second["error"]) == ("failed", "optimizer: Invalid learning rate: -1")
    assert list((folder / ".submitit").glob("*_log.out"))
    run = next(
        record.run for record in records(next((folder / "0" / "wandb").glob("offline-run-*"))) if record.run.run_id
    )
    assert run.run_group == f"{tmp_path.name}/rates"
    assert f"wandb sync {folder}/*/wandb/offline-run-*\n" in done.stdout


@pytest.mark.long
@pytest.mark.guarantee("A killed search continues with the proposals that it would have made")
def test_a_search_killed_in_the_middle_resumes_as_if_it_had_not_been(
    small: list[str], train_py: Run, tmp_path: Path
) -> None:
    """Five trials; the second start takes up the trial that was under way, and the same values follow."""
    space = {"low": 1e-4, "high": 1e-2, "log": True}
    arguments = [
        *small, "sweep=optuna", "sweep.n_trials=5", "sweep.space.optimizer.lr={low:1e-4,high:1e-2,log:true}",
        "~sweep.space.data", "sweep.pruner.n_startup_trials=1", "sweep.sampler.n_startup_trials=2",
        "checkpoint.every_n_steps=2",
    ]  # fmt: skip
    arguments.remove("optimizer.lr=1e-3")
    folder = tmp_path / "search"
    process = started([*arguments, f"hydra.sweep.dir={folder}"], folder / "2" / "checkpoints" / "last.ckpt")
    process.kill()
    process.communicate()
    done = train_py(*arguments, f"hydra.sweep.dir={folder}", timeout=400)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"^job (\d+): .* → ", done.stdout, re.MULTILINE) == ["2", "3", "4"]
    rows = [SweepRow(**row) for row in table(folder)]
    pruned = [row for row in rows if row.status == "pruned"]
    assert pruned and all(row.epoch == 1 for row in pruned)
    best = min((row for row in rows if row.status == "finished"), key=lambda row: row.val_loss or 0)
    assert f"optimizer.lr={best.settings['optimizer.lr']}" in (folder / "best.sh").read_text()

    values = {"n_trials": 5, "space": {"optimizer.lr": space}, "pruner": PRUNER}
    sampler = {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 2, "constant_liar": True}
    whole = a_search(tmp_path / "whole", {**values, "sampler": sampler}, "val_loss", seed=42)
    for number, proposed in whole.trials():
        assert proposed == rows[number].settings
        results = json.loads((folder / rows[number].folder / "results.json").read_text())
        found = [Row(**row) for row in results["epochs"]]
        for percent, value in by_share(found, 2 * (found[0].step or 0), "val_loss"):
            live_trial(whole.study, number).report(value, percent)
        whole.tell(rows[number])


def a_search(folder: Path, values: dict[str, Any], monitor: Monitor, seed: int) -> Search:
    """As the sweeper makes it."""
    settings = validated(SweepSettings, values)
    pruner, sampler = instantiate(settings.pruner), partial(instantiate, settings.sampler)
    return Search(folder, settings, monitor, seed, pruner, sampler)


@pytest.mark.long
@pytest.mark.guarantee("Two processes share a grid or a search: each job runs once")
@pytest.mark.parametrize("jobs", [["seed=1,2,3,4,5"], ["sweep=optuna", "sweep.n_trials=5", "~sweep.space.data"]])
def test_two_processes_share_a_sweep(jobs: list[str], small: list[str], tmp_path: Path) -> None:
    arguments = [*small, *jobs, f"hydra.sweep.dir={tmp_path}"]
    arguments.remove("optimizer.lr=1e-3")
    both = [started(arguments, tmp_path / "sweep.json") for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [(process.returncode, errors) for process, (_, errors) in zip(both, said, strict=True)] == [(0, "")] * 2
    begun = [re.findall(r"^job (\d): .* → ", words, re.MULTILINE) for words, _ in said]
    assert all(begun)
    assert sorted(begun[0] + begun[1]) == ["0", "1", "2", "3", "4"]
    assert [row["status"] for row in table(tmp_path)] == ["finished"] * 5


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweep.keep_best=0", "seed=1,2"], "sweep.keep_best=0: should be greater than 0"),
        (["sweep=optuna", "sweep.space.optimizer.lr.low=1"], "low < high"),
        (["sweep=optuna", "+sweep.space.scheduler=[linear,nope]"], "scheduler=nope: no such choice; choose one of"),
        (
            ["sweep=optuna", "+sweep.space.optimizer.lrr=[1]"],
            "optimizer.lrr: no such setting; did you mean optimizer.lr",
        ),
        (["sweep=optuna", "~sweep.space"], "sweep.space: nothing to search in"),
        (["sweep=optuna", "seed=1,2"], "seed=1,2: sweep=optuna takes its values from sweep.space"),
        (["sweep=factorial", "seed=1,2", "optimizer.lr=1,2"], "seed=1,2: each job gets a seed of its own"),
        (["sweep=factorial", "seed=1", "optimizer.lr=1,2,3"], "optimizer.lr=1,2,3: 3 values; sweep=factorial takes"),
        (["sweep=factorial", "optimizer.lr=1,2"], "sweep=factorial: takes at least two settings with two values"),
        (["hydra.launcher.n_jobs=0", "seed=1,2"], "hydra.launcher.n_jobs=0: should be a whole number"),
        (["hydra/launcher=basic", "seed=1,2"], "take local, submitit_local or submitit_slurm"),
        (["hydra/launcher=submitit_local", "+hydra.launcher.gpu=2", "seed=1,2"], "hydra/launcher=submitit_local: "),
    ],
)
def test_a_sweep_that_cannot_be_is_one_line(overrides: list[str], message: str, train_py: Run, tmp_path: Path) -> None:
    done = train_py("-m", *overrides, f"hydra.sweep.dir={tmp_path}/sweep", "data=local")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.long
def test_eight_jobs_tell_the_effects_of_three_settings_and_a_second_start_runs_none(
    small: list[str], train_py: Run, tmp_path: Path
) -> None:
    small = [word for word in small if not word.startswith(("optimizer.lr", "seed"))]
    settings = ["optimizer.lr=1e-3,1e-9", "scheduler=linear,constant", "data.batch_size=8,16"]
    arguments = [*small, "sweep=factorial", "seed=7", *settings, f"hydra.sweep.dir={tmp_path}"]
    done = train_py(*arguments, timeout=400)
    assert (done.returncode, done.stderr) == (0, "")
    rows = table(tmp_path)
    assert [row["settings"]["seed"] for row in rows] == list(range(7, 15))
    assert len({json.dumps({**row["settings"], "seed": 0}) for row in rows}) == 8
    means = [np.mean([row["val_loss"] for row in rows if row["settings"]["optimizer.lr"] == lr]) for lr in (1e-3, 1e-9)]
    for text in (done.stdout, (tmp_path / "sweep.md").read_text(), (tmp_path / "sweep.html").read_text()):
        assert f"{means[1] - means[0]:+.4f} (" in text
    assert re.findall(r"^job (\d): .* → ", train_py(*arguments).stdout, re.MULTILINE) == []


def test_effects_are_of_settings_with_two_values_and_enough_jobs() -> None:
    values = [{"a": a, "b": b, "seed": 4 * n + 2 * a + b} for n in range(2) for a in (0, 1) for b in (0, 1)]
    rows = [
        SweepRow(job=job, settings=v, folder=str(job), status="finished", val_loss=v["a"], exact_match=5, f1=2 * v["b"])
        for job, v in enumerate(values)
    ]
    assert effects(rows) == [
        ["a", "0 → 1", "+1.0000 (+1.0000 to +1.0000)", "+0.00 (+0.00 to +0.00)", "+0.00 (+0.00 to +0.00)"],
        ["b", "0 → 1", "+0.0000 (+0.0000 to +0.0000)", "+0.00 (+0.00 to +0.00)", "+2.00 (+2.00 to +2.00)"],
    ]
    older = SweepRow(
        job=9, settings={"a": 0, "seed": 1}, folder="9", status="finished", val_loss=9, exact_match=9, f1=9
    )
    assert effects([*rows, older])[1][-1] == "+2.00 (+2.00 to +2.00)"  # it varied fewer settings
    assert effects(rows[:3]) == []  # 3 figures for 3 unknowns
    assert effects([row.model_copy(update={"settings": {**row.settings, "seed": 1}}) for row in rows]) == []
    rows[0].status = "failed"
    assert effects(rows) == []  # without it pairs of settings are mixed in
    rows[0].status = "finished"
    assert effects([*rows, rows[7].model_copy(update={"settings": {"a": 2, "b": 1, "seed": 9}})]) == []


def test_a_search_asks_again_for_trials_that_failed_before(tmp_path: Path) -> None:
    sampler = {"_target_": "optuna.samplers.RandomSampler"}
    values = {"n_trials": 2, "space": {"seed": [1, 2, 3]}, "sampler": sampler, "pruner": PRUNER}
    for first in (0, 2):
        search = a_search(tmp_path, values, "f1", seed=1)
        numbers = []
        for number, _ in search.trials():
            search.tell(SweepRow(job=number, settings={}, folder="", status="failed"))
            numbers.append(number)
        assert numbers == [first, first + 1]
    with pytest.raises(UserError, match=r"study.journal: a study of another sweep.space"):
        a_search(tmp_path, {**values, "space": {"seed": [1]}}, "f1", seed=1)
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "worker_id"')  # torn by a power cut
    (tmp_path / ".study.journal.lock").touch()  # and its lock left
    search = a_search(tmp_path, values, "f1", seed=1)
    assert [number for number, _ in search.trials()] == [4, 5]
    for number in (4, 5):
        search.tell(SweepRow(job=number, settings={}, folder="", status="failed"))
    assert len(a_search(tmp_path, values, "f1", seed=1).study.get_trials()) == 6
    (tmp_path / "study.journal").write_text("no journal\n")
    with pytest.raises(UserError, match=r"study.journal: damaged"):
        a_search(tmp_path, values, "f1", seed=1)


@pytest.mark.parametrize("seed", [0, 42, 43])
def test_the_first_trials_of_a_search_cover_its_space_each_by_its_number_alone(seed: int, tmp_path: Path) -> None:
    space = {
        "lr": {"low": 1e-5, "high": 1e-3, "log": True}, "dropout": {"low": 0.0, "high": 0.5},
        "stride": {"low": 32, "high": 128, "step": 32}, "warm": {"low": 1, "high": 8}, "batch": [16, 32, 64, 128],
        "rounded": {"low": 1, "high": 100, "log": True}, "coarse": {"low": 0.0, "high": 0.3, "step": 0.1},
    }  # fmt: skip
    sampler = {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 8}
    values = {"n_trials": 8, "space": space, "pruner": PRUNER, "sampler": sampler}
    trials = dict(a_search(tmp_path / "a", values, "f1", seed).trials())
    assert sorted(int(4 * (math.log10(trial["lr"]) + 5) / 2) for trial in trials.values()) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sorted(trial["stride"] for trial in trials.values()) == sorted([32, 64, 96, 128] * 2)
    assert sorted(trial["batch"] for trial in trials.values()) == sorted([16, 32, 64, 128] * 2)
    assert sorted(trial["warm"] for trial in trials.values()) == list(range(1, 9))
    assert {round(trial["coarse"], 9) for trial in trials.values()} <= {0.0, 0.1, 0.2, 0.3}
    assert all(1 <= trial["rounded"] <= 100 and 0 <= trial["dropout"] < 0.5 for trial in trials.values())
    fewer = {**values, "n_trials": 3}
    assert list(a_search(tmp_path / "b", fewer, "f1", seed).trials()) == list(trials.items())[:3]


def test_trials_of_other_lengths_are_compared_at_the_same_share_of_their_steps(tmp_path: Path) -> None:
    """The second evaluation of four is half of the way: there a trial of one epoch has what it had at its half."""
    evaluations = {1: [(10, 5.0), (20, 1.0)], 2: [(10, 5.5), (20, 4.5), (30, 2.0), (40, 0.9)]}
    study = open_study(tmp_path / "journal", pruner=MedianPruner(n_startup_trials=1))
    for epochs, found in evaluations.items():
        trial = study.ask()
        rows = [Row(step=step, val_loss=value) for step, value in found]
        for percent, value in by_share(rows[:2], 20 * epochs, "val_loss"):
            trial.report(value, percent)
        if epochs == 1:
            study.tell(trial, 1.0)
            assert trial.storage.get_trial(trial._trial_id).intermediate_values == {
                **dict.fromkeys(range(50, 100), 5.0), 100: 1.0,
            }  # fmt: skip
    assert not trial.should_prune()  # 4.5 after half of its steps, where the other had 5.0, though later 1.0


def test_a_figure_that_is_no_number_is_a_trial_that_failed(tmp_path: Path) -> None:
    sampler = {"_target_": "optuna.samplers.RandomSampler"}
    values = {"n_trials": 1, "space": {"seed": [1]}, "sampler": sampler, "pruner": PRUNER}
    search = a_search(tmp_path, values, "val_loss", seed=1)
    number, _ = next(search.trials())
    search.tell(SweepRow(job=number, settings={}, folder="", status="finished", val_loss=math.nan))
    assert search.study.trials[0].state == TrialState.FAIL


def ended(sweep: Sweep, number: int, settings: dict[str, Any], val_loss: float | None) -> None:
    """A job that has run, with the arguments that its settings make."""
    folder = sweep.folder / str(number)
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"best": {"val_loss": val_loss}}))
    job = Job(number, settings, folder, ["data=local", "sweep.keep_best=2", *(f"{k}={v}" for k, v in settings.items())])
    sweep._began(job)
    sweep._ended(job, 0, 1.0, pruned=False)


def test_the_best_setting_is_that_of_the_best_mean_not_of_the_luckiest_seed(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for number, (rate, seed, loss) in enumerate(
        [(1e-4, 1, 1.0), (1e-4, 2, 3.0), (2e-4, 1, 1.5), (2e-4, 2, 1.7), (3e-4, 1, math.nan)]
    ):
        ended(sweep, number, {"optimizer.lr": rate, "seed": seed}, loss)
    best = (tmp_path / "best.sh").read_text()
    assert "# optimizer.lr=0.0002, seed 1, 2: the best of" in best
    assert best.endswith('exec python train.py -m data=local optimizer.lr=0.0002 seed=1,2 "$@"\n')
    table = (tmp_path / "sweep.md").read_text()
    assert "| optimizer.lr=0.0002 | 1, 2 | 1.6000 ± 0.1414 |" in table
    assert table.index("| optimizer.lr=0.0002 | 1, 2 |") < table.index("| optimizer.lr=0.0001 | 1, 2 |")
    assert "used to choose the best epoch and setting" in table and "stage=test data=local" in table
    assert [row.job for row in sweep.best()] == [0, 2, 3, 1]  # what sweep.keep_best goes by


def test_a_setting_of_one_seed_runs_again_as_it_was(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    ended(sweep, 0, {"optimizer.lr": 1e-4, "seed": 7}, 1.0)
    assert "data=local optimizer.lr=0.0001 seed=7 hydra.mode=RUN" in (tmp_path / "best.sh").read_text()
    ended(sweep, 1, {"optimizer.lr": 2e-4, "seed": 7}, 2.0)
    ended(sweep, 2, {"optimizer.lr": 1e-4}, 3.0)  # of a sweep without seeds, with the configuration's
    assert "of one seed each: another seed may change the order" in (tmp_path / "sweep.md").read_text()


def test_a_setting_that_a_search_proposed_twice_runs_again_as_its_first_job(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for number in range(2):
        ended(sweep, number, {"data.batch_size": 8}, 1.0)
    assert "data=local data.batch_size=8 hydra.mode=RUN" in (tmp_path / "best.sh").read_text()
    assert "mean of seeds" not in (tmp_path / "sweep.md").read_text()


def test_seeds_alone_have_no_best_setting(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for seed in range(2):
        ended(sweep, seed, {"seed": seed}, 0.9)
    text = (tmp_path / "sweep.md").read_text()
    assert "| one setting | 0, 1 |" in text and "Best" not in text


def test_a_setting_of_which_seeds_failed_ranks_behind_complete_ones(tmp_path: Path) -> None:
    """One lucky seed of four would be the best; the others had no figure, each in another way."""
    sweep = Sweep(tmp_path)
    for seed, status in enumerate(("finished", "failed", "interrupted", "pruned")):
        ended(sweep, seed, {"optimizer.lr": 1e-3, "seed": seed}, 0.9)
        sweep._put(sweep.rows()[seed].model_copy(update={"status": status}))
        ended(sweep, 4 + seed, {"optimizer.lr": 1e-5, "seed": seed}, 0.95)
    ended(sweep, 8, {"optimizer.lr": 1.0, "seed": 1}, math.nan)
    text = (tmp_path / "sweep.md").read_text()
    assert text.index("| optimizer.lr=1e-05 | 0, 1, 2, 3 |") < text.index("| optimizer.lr=0.001 | 1 of 4 seeds |")
    assert "Best by validation loss, the mean of seeds 0, 1, 2, 3: optimizer.lr=1e-05" in text
    assert "optimizer.lr=1e-05 seed=0,1,2,3" in (tmp_path / "best.sh").read_text()
    assert warnings(sweep.rows(), "val_loss") == [
        "WARNING: optimizer.lr=0.001: figures of 1 of 4 seeds (1 failed, 1 interrupted, 1 pruned); it is ranked behind"
        " complete settings.",
        "WARNING: optimizer.lr=1.0: figures of 0 of 1 seeds (1 without a figure); it has no rank.",
    ]
    assert all(warning in text for warning in warnings(sweep.rows(), "val_loss"))
    sweep._put(sweep.rows()[8].model_copy(update={"status": "pruned"}))
    assert len(warnings(sweep.rows(), "val_loss")) == 1  # what a search cut off is no loss


def test_the_two_best_run_again_with_seeds_that_no_job_had(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for number, (rate, seed) in enumerate([(1e-4, 1), (2e-4, 1), (3e-4, 3)]):
        ended(sweep, number, {"optimizer.lr": rate, "seed": seed}, 1.0 + number)
    lines = (tmp_path / "new-seeds.sh").read_text().splitlines()
    assert lines[:3] == [
        "#!/bin/sh", "# optimizer.lr=0.0001 and optimizer.lr=0.0002 with seeds that did not choose them", "set -e",
    ]  # fmt: skip
    assert lines[3:] == [
        *(
            f"python train.py -m data=local optimizer.lr={rate} seed=2,4,5 hydra.sweep.dir={tmp_path}/new-seeds/{place}"
            ' "$@"'
            for place, rate in enumerate((0.0001, 0.0002))
        ),
        f"exec python -m qa.compare {tmp_path}/new-seeds/0 {tmp_path}/new-seeds/1",
    ]
    assert f"the two best, new seeds: sh {tmp_path}/new-seeds.sh" in sweep.next_steps()
    (tmp_path / "new-seeds" / "0").mkdir(parents=True)
    sweep.move_aside()
    assert not list(tmp_path.glob("new-seeds*"))  # the next sweep's settings are others


def test_evaluations_have_no_new_seeds(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for number, length in enumerate((64, 384)):
        ended(sweep, number, {"stage": "test", "data.max_length": length}, 1.0 + number)
    assert (tmp_path / "best.sh").exists() and not (tmp_path / "new-seeds.sh").exists()


def test_where_f1_would_choose_another_setting_the_sweep_names_it(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for number, (loss, f1) in enumerate([(1.0, 50.0), (2.0, 60.0)]):
        ended(sweep, number, {"optimizer.lr": number}, loss)
        sweep._put(sweep.rows()[number].model_copy(update={"f1": f1}))
    assert notes(sweep.rows(), "val_loss")[:2] == [
        "Best by validation loss: optimizer.lr=0", "By F1, by which qa.compare decides, it is optimizer.lr=1.",
    ]  # fmt: skip
    sweep._put(sweep.rows()[0].model_copy(update={"f1": 70.0}))
    assert not any("qa.compare" in note for note in notes(sweep.rows(), "val_loss"))


def test_a_job_is_run_by_one_process_and_its_number_stays_its_own(tmp_path: Path) -> None:
    one, other = Sweep(tmp_path), Sweep(tmp_path)
    assert [one.take({"seed": 1}), other.take({"seed": 1}), other.take({"seed": 2})] == [0, None, 1]
    with pytest.raises(UserError, match="job 0 runs in another process; wait for its end"):
        other.move_aside()
    job = Job(0, {"seed": 1}, tmp_path / "0", ["seed=1"])
    job.folder.mkdir()
    (job.folder / "results.json").write_text(json.dumps({"best": {"val_loss": 1.0}}))
    one._began(job)
    one._ended(job, 0, 1.0, pruned=False)
    assert other.take({"seed": 1}) is None  # finished
    del other  # as a killed process
    assert one.take({"seed": 2}) == 1


def test_nothing_in_a_setting_is_run_or_breaks_a_table(tmp_path: Path) -> None:
    sweep, shell = Sweep(tmp_path / "sweep"), tmp_path / "bin"
    ended(sweep, 0, {"model.pretrained": "a|b\ntouch PWNED\r\n#\u2028$(touch PWNED)", "seed": 1}, 1.0)
    shell.mkdir()
    (shell / "python").write_text('#!/bin/sh\nprintf "%s," "$@"\n')
    (shell / "python").chmod(0o755)
    path = {"PATH": f"{shell}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "sweep/best.sh", "x=1"], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("train.py,data=local,model.pretrained=a|b\ntouch PWNED") and done.stdout.endswith(
        "x=1,"
    )
    assert not list(tmp_path.rglob("PWNED"))
    lines = (tmp_path / "sweep" / "sweep.md").read_text().split("\n\n")[0].split("\n")
    assert [line.replace("\\|", "").count("|") for line in lines] == [len(ROW_COLUMNS) + 1] * 3


def a_run(folder: Path) -> None:
    """Makes the folder one that a run of ours wrote into."""
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("{stage: fit, data: {}, model: {}, decode: {}, nonfinite: stop}")


@pytest.mark.parametrize("folder", ["../victim", "link", "mine", "absolute"])
def test_a_table_from_elsewhere_removes_nothing_but_jobs_of_this_sweep(folder: str, tmp_path: Path) -> None:
    victim, sweep = tmp_path / "victim", Sweep(tmp_path / "sweep", keep_best=1)
    a_run(victim)
    (victim / "model").mkdir()
    (sweep.folder / "link").symlink_to(victim)
    (sweep.folder / "mine" / "model").mkdir(parents=True)  # somebody's, and no run
    place = str(victim) if folder == "absolute" else folder
    row = {"job": 9, "settings": {"seed": 9}, "folder": place, "status": "finished", "val_loss": 9.0}
    (sweep.folder / "sweep.json").write_text(json.dumps([row]))
    outside = place.startswith(("/", ".."))
    with pytest.raises(UserError, match=r"sweep\.json: damaged") if outside else nullcontext():
        ended(sweep, 0, {"seed": 1}, 1.0)
    assert (victim / "model").exists() and (sweep.folder / "mine" / "model").exists()
    with pytest.raises(UserError, match=r"not in .*, the sweep's; give another hydra\.sweep\.subdir"):
        Sweep(tmp_path / "other")._began(Job(0, {}, victim, []))


def test_what_a_pruned_job_weighs_goes_too(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, keep_best=1)
    for number, pruned in enumerate((False, True)):
        job = Job(number, {"seed": number}, tmp_path / str(number), [f"seed={number}"])
        (job.folder / "checkpoints").mkdir(parents=True)
        a_run(job.folder)
        (job.folder / "results.json").write_text(json.dumps({"best": {"val_loss": 2.0 - number}}))
        sweep._began(job)
        sweep._ended(job, 0, 1.0, pruned)
    assert [(tmp_path / str(number) / "checkpoints").exists() for number in (0, 1)] == [True, False]
    assert "seed 0: the best" in (tmp_path / "best.sh").read_text()


def test_a_damaged_table_or_a_file_in_its_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("[{")
    with pytest.raises(UserError, match=r"sweep.json: damaged"):
        Sweep(tmp_path).rows()
    with pytest.raises(UserError, match=r"not a folder"):
        Sweep(tmp_path / "sweep.json")


def test_each_of_several_jobs_has_gpus_of_its_own() -> None:
    assert device_slots(2, 2, ["0", "1", "2", "3"]) == [
        {"CUDA_VISIBLE_DEVICES": "0,1"},
        {"CUDA_VISIBLE_DEVICES": "2,3"},
    ]
    with pytest.raises(UserError, match="they need 4 GPUs, here are 3; give n_jobs=1"):
        device_slots(2, 2, ["0", "1", "2"])


def test_a_job_that_is_killed_says_by_what(tmp_path: Path) -> None:
    class Killed(Processes):
        def start(self, job: Job, slot: int) -> Any:
            return subprocess.Popen(["sh", "-c", "kill -KILL $$"])

    sweep = Sweep(tmp_path)
    assert sweep.run(iter([Job(0, {"seed": 1}, tmp_path / "0", [])]), Killed([{}])) == 1
    assert sweep.rows()[0].error == "was killed by SIGKILL; was the memory too small?"


def test_jobs_are_asked_to_save_where_the_sweep_itself_fails(tmp_path: Path) -> None:
    """The first job ends at once, and its row cannot be written; the second leaves a file when it is told to end."""
    script = "import signal, sys, time; from pathlib import Path\n"
    script += "signal.signal(signal.SIGTERM, lambda *_: (Path(sys.argv[1]).touch(), sys.exit(143)))\n"
    script += "Path(sys.argv[2]).touch(); time.sleep(60)"
    saved, ready = tmp_path / "saved", tmp_path / "ready"

    class Two(Processes):
        def start(self, job: Job, slot: int) -> Any:
            if job.number:
                return subprocess.Popen([sys.executable, "-c", script, str(saved), str(ready)])
            return subprocess.Popen(["sh", "-c", f"while ! [ -e {ready} ]; do sleep 0.1; done"])

    def failed(*_: Any) -> None:
        raise OSError("no space left")

    jobs = iter([Job(number, {"seed": number}, tmp_path / str(number), []) for number in range(2)])
    with pytest.raises(OSError, match="no space left"):
        run_jobs(jobs, Two([{}, {}]), began=lambda _: None, ended=failed)
    assert saved.exists()


@pytest.mark.slow
def test_two_processes_can_keep_one_table(tmp_path: Path) -> None:
    """Each writes the rows of its own jobs; none is lost."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "from qa.sweeps.engines import Job; from qa.sweeps.sweep import Sweep\n"
        "import qa.report  # takes a while: both are to write at the same time\n"
        "sweep, first = Sweep(Path(sys.argv[1])), int(sys.argv[2])\n"
        "(sweep.folder / f'ready-{first}').touch()\n"
        "while len(list(sweep.folder.glob('ready-*'))) < 2: time.sleep(0.001)\n"
        "for n in range(first, 40, 2): sweep._began(Job(n, {'seed': n}, sweep.folder / str(n), []))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    both = [subprocess.Popen([*command, str(first)], cwd=ROOT) for first in (0, 1)]
    assert [process.wait() for process in both] == [0, 0]
    assert [row.job for row in Sweep(tmp_path).rows()] == list(range(40))


def test_a_space_is_nested_or_dotted_and_knows_whole_numbers() -> None:
    space = {"optimizer": {"lr": {"low": 1e-5, "high": 1e-4, "log": True}}, "seed": [1, 2]}
    settings = validated(SweepSettings, {"space": {**space, "data": {"stride": {"low": 16, "high": 64}}}})
    assert list(settings.space) == ["optimizer.lr", "seed", "data.stride"]
    whole = [values.whole for values in settings.space.values() if not isinstance(values, list)]
    assert whole == [False, True]
