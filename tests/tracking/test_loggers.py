"""Which logger a run has, what is said where W&B cannot be reached, and what TensorBoard gets."""

import csv
import json
import pwd
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train  # noqa: F401  registers the resolvers
from helpers.commands import Run, quick_fit
from helpers.paths import ROOT
from qa.errors import UserError
from qa.evaluation.answers import Question
from qa.review.report import RunReport
from qa.runs.folder import RunFolder
from qa.runs.metrics_csv import CSV_COLUMNS, read_metrics
from qa.runs.results import PerSplit, Results
from qa.tracking.loggers import Wandb, dashboard_name
from qa.tracking.metrics_file import MetricsFile

Files = tuple[Path, Path]
KEY = "0" * 40
NOWHERE = "http://127.0.0.1:9"


def target(*overrides: str) -> str | None:
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        logger = compose("config", [*overrides]).logger
    return logger["_target_"] if logger else None


def test_the_default_is_wandb_once_there_is_a_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert target() == "qa.MetricsFile"
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine wandb.example.org login user password {KEY}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert target() == "qa.MetricsFile"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert target() == "qa.Wandb"
    monkeypatch.delenv("NETRC")
    monkeypatch.delenv("WANDB_BASE_URL")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert target() == target("experiment=demo") == "qa.Wandb"
    assert target("logger=none") is None
    assert target("logger=csv") == "qa.MetricsFile"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert target() == "qa.MetricsFile"


def test_a_user_whom_the_machine_does_not_know_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("NETRC")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)  # as in a container that is started with another uid
    assert target() == "qa.MetricsFile"


def test_without_a_choice_a_run_is_online_only_where_that_can_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Wandb(str(tmp_path), "p").mode == "offline"
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", NOWHERE)
    assert Wandb(str(tmp_path), "p").mode == "offline"
    with pytest.raises(UserError, match=f"logger.mode=online: {NOWHERE} is not reached .*logger.mode=offline"):
        Wandb(str(tmp_path), "p", mode="online")


def test_online_without_a_key_is_one_line(train_py: Run, tiny: Path, small_files: Files, tmp_path: Path) -> None:
    refused = train_py(*settings(small_files, tiny, tmp_path), "logger=wandb", "logger.mode=online")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.startswith("ERROR: logger.mode=online: there is no W&B key; set WANDB_API_KEY")
    assert not (tmp_path / "run" / "wandb").exists()


@pytest.mark.slow
@pytest.mark.parametrize("answers", [False, True])
def test_texts_of_the_data_go_to_wandb_only_when_asked(answers: bool, tmp_path: Path) -> None:
    secret = "Where did Ada Brill hide the letters?"
    row = Question("1", secret, secret, None, [], [], secret, 0, 5, 0.5, exact_match=1.0, f1=1.0, loss=0.1)
    results = Results(
        epochs=[], best=None, windows=PerSplit(), examples=PerSplit(), windows_per_second=PerSplit(), devices=1
    )
    logger = Wandb(str(tmp_path), "p", mode="offline", answers=answers)
    assert logger.experiment
    print(secret)  # as a run's last lines show some answers
    logger.log_end(RunReport(RunFolder(tmp_path), results, [row], {}), 42)
    sent = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert bool(sent) == answers
    assert ("no texts of the data" in logger.sends()) == (not answers)
    assert logger.sends().startswith("`wandb sync` will send figures, settings with their paths")


def test_tensorboard_has_every_figure_and_the_curves_have_theirs(
    train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    done = train_py(*settings(small_files, tiny, tmp_path), "logger=tensorboard")
    assert done.returncode == 0, done.stderr
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {
        "epoch", "train/epoch_loss", "train/loss", "train/learning_rate", "train/gradient_norm",
        "train/windows_per_second", "train/tokens_per_second", "train/memory_gib",
        "val/loss", "val/exact_match", "val/f1",
    }  # fmt: skip
    with (tmp_path / "run" / "metrics.csv").open() as file:
        losses = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file) if row["loss"]]
    logged = events.Scalars("train/loss")
    assert [event.step for event in logged] == [step for step, _ in losses]
    assert [event.value for event in logged] == pytest.approx([loss for _, loss in losses])
    best = json.loads((tmp_path / "run" / "results.json").read_text())["best"]
    assert events.Scalars("val/loss")[0].step == best["step"]
    assert "tensorboard" in done.stdout


@pytest.mark.parametrize(
    ("figure", "shown"),
    [("val_loss", "val/loss"), ("f1_de", "val/f1_de"), ("HasAns_f1", "val/HasAns_f1"), ("mine", "mine")],
)
def test_a_figure_is_in_its_section(figure: str, shown: str) -> None:
    assert dashboard_name(figure) == shown


def test_a_figure_without_a_column_adds_one_and_a_resumed_run_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    one, other = MetricsFile(str(path)), MetricsFile(str(path))
    one.log_metrics({"loss": 3.0}, 1)
    one.log_metrics({"epoch": 1.0, "f1": 50.0, "NoAns_f1": 75.0}, 1)
    one.log_metrics({"loss": 2.0}, 2)
    one.finalize("success")
    other.forget_after(1, evaluated=True)
    other.log_metrics({"loss": 2.5}, 2)
    other.log_metrics({"epoch": 2.0, "f1": 60.0, "NoAns_f1": 85.0}, 2)
    other.finalize("success")
    evaluated = {"epoch": 1.0, "f1": 50.0, "NoAns_f1": 75.0}, {"epoch": 2.0, "f1": 60.0, "NoAns_f1": 85.0}
    expected = [(1, {"loss": 3.0}), (1, evaluated[0]), (2, {"loss": 2.5}), (2, evaluated[1])]
    assert list(read_metrics(path)) == expected
    assert path.read_text().splitlines()[0] == ",".join([*CSV_COLUMNS, "NoAns_f1"])


def settings(files: Files, tiny: Path, folder: Path) -> list[str]:
    more = "trainer.max_epochs=1", "data.limit=20", f"hydra.run.dir={folder}/run"
    return quick_fit(files, tiny, folder / "cache", *more)
