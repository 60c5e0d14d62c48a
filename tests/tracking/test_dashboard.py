"""A real W&B run without a network, read back from its file: what it holds, and that the saved view names only that."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from helpers.commands import Run, quick_fit, started
from helpers.paths import ROOT
from helpers.wandb_file import records
from qa import dashboard
from qa.errors import UserError
from qa.evaluation.answers import Question
from qa.evaluation.question_table import read_questions
from qa.tracking.tables import RIGHT, WRONG, shown

Files = tuple[Path, Path]


def dotted(items: Any) -> dict[str, Any]:
    """{dotted key: value} of a record's items, those of JSON objects included."""
    found: dict[str, Any] = {}
    for item in items:
        found |= leaves(".".join(item.nested_key) or item.key, json.loads(item.value_json))
    return found


def leaves(key: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name, child in value.items() for k, v in leaves(f"{key}.{name}", child).items()}


class Logged(NamedTuple):
    """What one `.wandb` file holds."""

    run_id: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    exit_codes: list[int]

    def steps(self, name: str) -> list[int]:
        return [row["_step"] for row in self.history if name in row]


def read(folder: Path) -> Logged:
    found: dict[str, list[Any]] = {}
    for record in records(folder):
        kind = record.WhichOneof("record_type")
        found.setdefault(kind, []).append(getattr(record, kind))
    return Logged(
        run_id=found["run"][0].run_id,
        config=dotted(found["run"][0].config.update),
        history=[dotted(row.item) for row in found["history"]],
        summary={name: value for part in found["summary"] for name, value in dotted(part.update).items()},
        exit_codes=[part.exit_code for part in found["exit"]],
    )


@pytest.fixture(scope="module")
def tracked(
    train_py: Run, tiny: Path, small_files: Files, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Path], str]:
    """A run that was told to end and went on with another number of devices: its folder, its two, what it said."""
    folder = tmp_path_factory.mktemp("tracked") / "a run"
    command = quick_fit(
        small_files, tiny, folder.parent / "cache", "trainer.max_epochs=3", "logger=wandb", "logger.mode=offline",
        "logger.answers=true", f"hydra.run.dir='{folder}'",
    )  # fmt: skip
    first = started(command, folder / "metrics.csv")
    first.send_signal(signal.SIGTERM)
    _, said = first.communicate(timeout=60)
    assert first.returncode == 143, said
    time.sleep(1)  # the folders' names have seconds
    done = train_py(*command, "trainer.devices=2")
    assert (done.returncode, done.stderr) == (0, "")
    return folder, sorted((folder / "wandb").glob("offline-run-*")), done.stdout


@pytest.mark.guarantee("With W&B: a resumed run is one run, with each step once, also on another number of devices")
def test_a_run_resumed_on_two_devices_is_one_run_with_every_step_once(
    tracked: tuple[Path, list[Path], str],
) -> None:
    folder, parts, said = tracked
    first, last = map(read, parts)
    epochs = json.loads((folder / "results.json").read_text())["epochs"]
    steps = list(range(1, epochs[-1]["step"] + 1))
    assert first.run_id == last.run_id
    assert 0 < len(first.history) < len(steps)
    assert first.steps("train/loss") == steps[: len(first.history)]
    assert last.steps("train/loss") == steps
    for one, other in zip(first.history, last.history, strict=False):
        assert one["train/loss"] == other["train/loss"]
    evaluated = {row["_step"]: (row["val/loss"], row["val/f1"], row["epoch"]) for row in last.history if "epoch" in row}
    assert evaluated == {row["step"]: (row["val_loss"], row["f1"], row["epoch"]) for row in epochs}
    assert last.summary["val/loss.min"] == min(row["val_loss"] for row in epochs)
    assert last.summary["val/f1.max"] == max(row["f1"] for row in epochs)
    assert (first.exit_codes, last.exit_codes) == ([1], [0])
    assert said.splitlines()[-1] == f"to W&B by: wandb sync {shlex.quote(str(parts[-1]))}"


def test_what_a_run_is_stands_in_its_configuration(tracked: tuple[Path, list[Path], str]) -> None:
    config = read(tracked[1][-1]).config
    assert (config["optimizer.lr"], config["trainer.max_epochs"], config["trainer.devices"]) == (1e-3, 3, 2)
    assert len(config["fingerprints.train"]) == len(config["fingerprints.validation"]) >= 16
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert config["commit"].rstrip("+") == commit.strip()


def test_tables_show_the_best_epochs_answers(tracked: tuple[Path, list[Path], str]) -> None:
    folder, parts, _ = tracked
    logged = read(parts[-1])
    table = json.loads((parts[-1] / "files" / logged.summary["predictions.path"]).read_text())
    assert table["columns"][:4] == ["id", "question", "context", "gold"]
    rows = {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["data"]}
    questions = read_questions(folder)
    assert rows.keys() == {question.id for question in questions}
    for question in questions:
        row = rows[question.id]
        assert row["context"].replace("[[", "").replace("]]", "") == question.context
        assert f"[[{question.prediction}]]" in row["context"]
        assert (row["exact_match"], row["loss"]) == (100 * (question.exact_match or 0), question.loss)
    parts_table = json.loads((parts[-1] / "files" / logged.summary["breakdown.path"]).read_text())
    assert ["question type", "when", 5] in [row[:3] for row in parts_table["data"]]
    assert (parts[-1] / "files" / logged.summary["reliability.path"]).stat().st_size > 1000


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")  # wandb_workspaces' own
def test_what_the_view_names_is_logged(
    tracked: tuple[Path, list[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["qa.dashboard", "--project", "p", "--json", str(tmp_path / "view.json")])
    dashboard.main()
    assert "not saved: there is no W&B key; set WANDB_API_KEY" in " ".join(capsys.readouterr().out.split())
    section = json.loads((tmp_path / "view.json").read_text())["section"]
    logged = read(tracked[1][-1])
    known = {f"summary:{name}" for name in logged.summary} | {"run:displayName"}
    for name in logged.config:
        group, dot, rest = name.partition(".")
        known.add(f"config:{group}.value{dot}{rest}")
    together = logged.history[-1].keys()  # what is plotted against each other must come in one row
    panels = [panel for part in section["panelBankConfig"]["sections"] for panel in part["panels"]]
    plots = [panel["config"] for panel in panels if panel["viewType"] == "Run History Line Plot"]
    assert {"val/loss", "val/exact_match", "val/f1", "train/loss", "train/learning_rate", "train/gradient_norm",
            "train/windows_per_second"} <= {name for plot in plots for name in plot["metrics"]}  # fmt: skip
    for plot in plots:
        assert {plot["xAxis"], *plot["metrics"]} <= together
    columns = section["runSets"][0]["runFeed"]["columnOrder"]
    axes = [axis["accessor"] for panel in panels for axis in panel["config"].get("columns", [])]
    assert len(axes) == 6
    assert {*columns, *axes} <= known
    media = [key for panel in panels for key in panel["config"].get("mediaKeys", [])]
    weave = [json.dumps(panel["config"]) for panel in panels if panel["viewType"] == "Weave"]
    tables = [name for name in ("predictions", "breakdown") if any(f'"{name}"' in text for text in weave)]
    assert (len(weave), len(tables), media) == (2, 2, ["reliability"])
    for name in (*tables, *media):
        assert logged.summary[f"{name}._type"] in ("table-file", "image-file")


def test_without_a_key_the_view_is_not_saved_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["qa.dashboard"])
    with pytest.raises(UserError, match="there is no W&B key; set WANDB_API_KEY or call `wandb login`"):
        dashboard.main()


def test_wrong_answers_go_first_and_samples_are_those_of_the_seed() -> None:
    questions = [
        Question(str(n), "", "", None, [], [], "", None, None, 0.5, exact_match=n % 2, f1=0.0, loss=0.0)
        for n in range(2 * WRONG + 100)
    ]
    taken = shown(questions, seed=1)
    assert [question.exact_match for question in taken] == [0.0] * WRONG + [1.0] * RIGHT
    assert taken == shown(questions, seed=1) != shown(questions, seed=2)
    assert len({question.id for question in taken}) == WRONG + RIGHT
