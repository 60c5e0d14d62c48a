"""Which runs are the same: by their settings and by the content of what they read, not by names and places."""

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import lightning
import pytest

from qa.config.composed import resolved
from qa.errors import UserError
from qa.hub import cached_commit
from qa.runs import identity as runs_identity
from qa.runs.identity import differences, other_code


def identity(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Of a composed configuration."""
    return runs_identity.identity(resolved(config), folder)


@pytest.fixture
def config(tiny: Path, small_files: tuple[Path, Path], tmp_path: Path) -> dict[str, Any]:
    """A fit of files of its own."""
    for file in small_files:
        shutil.copy(file, tmp_path)
    shutil.copytree(tiny, tmp_path / "model")
    return {
        "seed": 1, "stage": "fit", "resume": "auto", "push_to_hub": None,
        "data": {
            "_target_": "qa.SquadDataModule", "name": None, "seed": "${seed}", "cache_dir": "cache",
            "train_file": str(tmp_path / "train.json"), "validation_file": str(tmp_path / "validation.json"),
        },
        "model": {"_target_": "qa.QuestionAnsweringModule", "pretrained": str(tmp_path / "model")},
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 1e-3, "betas": [0.9, 0.999]},
        "trainer": {"max_epochs": 3, "devices": 1, "default_root_dir": "${hydra:runtime.output_dir}"},
        "callbacks": {"live_line": {"_target_": "qa.LiveLine"}},
        "checkpoint": {"monitor": "val_loss", "keep": 1}, "logger": {"path": "${hydra:runtime.output_dir}/metrics.csv"},
    }  # fmt: skip


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The configuration with one dotted key set."""
    copy: dict[str, Any] = json.loads(json.dumps(config))
    node = copy
    *path, last = key.split(".")
    for name in path:
        node = node.setdefault(name, {})
    node[last] = value
    return copy


NEUTRAL = [
    ("data._target_", "qa.data.SquadDataModule"),
    ("data.cache_dir", "/elsewhere"),
    ("data.micro_batch_size", 4),
    ("trainer.devices", 4),
    ("trainer.accelerator", "cpu"),
    ("checkpoint.keep", 3),
    ("logger.mode", "offline"),
    ("callbacks.estimate._target_", "qa.Estimate"),
    ("sweep.keep_best", 1),
    ("trainer.profiler", "simple"),
    ("trainer.detect_anomaly", True),
    ("trainer.limit_test_batches", 3),  # of a fit
]
DECISIVE = [
    ("seed", 2, "seed (1 there, 2 here)"),
    ("stage", "validate", "stage (fit there, validate here)"),
    ("optimizer._target_", "torch.optim.AdamW", "optimizer._target_ (torch.optim.Adam there, torch.optim.AdamW here)"),
    ("checkpoint.monitor", "f1", "checkpoint.monitor (val_loss there, f1 here)"),
    ("trainer.max_epochs", 5, "trainer.max_epochs (3 there, 5 here)"),
    ("trainer.max_time", "00:01:00:00", "trainer.max_time (None there, 00:01:00:00 here)"),
    ("callbacks.early_stopping.patience", 2, "callbacks.early_stopping.patience (None there, 2 here)"),
    ("push_to_hub", "ada/bridges", "push_to_hub (None there, ada/bridges here)"),
]


def test_what_says_how_a_run_computes_does_not_set_it_apart(config: dict[str, Any], tmp_path: Path) -> None:
    held = identity(config, tmp_path)
    assert json.loads(json.dumps(held)) == held
    other = identity(changed(config, "seed", 2), tmp_path)  # and all that follows it
    assert differences(held, other) == ["seed (1 there, 2 here)"]
    for key, value in NEUTRAL:
        assert differences(held, identity(changed(config, key, value), tmp_path)) == [], key


def test_each_argument_of_the_trainer_decides_or_does_not(config: dict[str, Any], tmp_path: Path) -> None:
    """Whoever raises Lightning's pin looks at each new argument: one that is not in TRAINER never refuses a resume."""
    neutral = {
        "accelerator", "strategy", "devices", "num_nodes", "logger", "callbacks", "limit_test_batches",
        "limit_predict_batches", "overfit_batches", "num_sanity_val_steps", "log_every_n_steps", "enable_checkpointing",
        "enable_progress_bar", "enable_model_summary", "accumulate_grad_batches", "inference_mode",
        "use_distributed_sampler", "profiler", "detect_anomaly", "barebones", "reload_dataloaders_every_n_epochs",
        "default_root_dir", "enable_autolog_hparams", "model_registry",
    }  # fmt: skip
    names = set(inspect.signature(lightning.Trainer).parameters)
    assert names == neutral | runs_identity.TRAINER | {"limit_val_batches"}
    plain = identity(config, tmp_path)
    for name in names:
        assert bool(differences(plain, identity(changed(config, f"trainer.{name}", 7), tmp_path))) == (
            name not in neutral
        ), name


def test_a_run_of_an_earlier_version_that_recorded_more_is_the_same(config: dict[str, Any], tmp_path: Path) -> None:
    held = identity(config, tmp_path)
    held["settings"] |= {"trainer.detect_anomaly": False, "trainer.limit_predict_batches": None}
    assert differences(held, identity(changed(config, "trainer.detect_anomaly", True), tmp_path)) == []
    held["settings"] |= {"data.eval_batch_size": 16}
    assert differences(held, identity(changed(config, "data.eval_batch_size", None), tmp_path)) == []
    assert differences(held, identity(changed(config, "data.eval_batch_size", 64), tmp_path)) != []
    config = changed(config, "stage", "test")
    config["data"]["test_file"] = config["data"]["validation_file"]
    words = "trainer.limit_test_batches (None there, 3 here)"
    assert differences(
        identity(config, tmp_path), identity(changed(config, "trainer.limit_test_batches", 3), tmp_path)
    ) == [words]


@pytest.mark.guarantee("A run folder is never used for other settings, data or weights; what differs is named")
def test_what_says_what_a_run_computes_does(config: dict[str, Any], tmp_path: Path) -> None:
    held = identity(config, tmp_path)
    for key, value, words in DECISIVE:
        assert words in differences(held, identity(changed(config, key, value), tmp_path))
    one, all_of_it = (identity(changed(config, "trainer.limit_train_batches", n), tmp_path) for n in (1, 1.0))
    assert differences(one, all_of_it) == ["trainer.limit_train_batches (1 there, 1.0 here)"]
    longer = identity(changed(config, "trainer.max_epochs", 5), tmp_path)
    assert differences(held, longer, resuming=True) == []


@pytest.mark.guarantee("A run folder is never used for other settings, data or weights; what differs is named")
def test_inputs_count_by_their_content_wherever_they_lie(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = identity(config, tmp_path)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("train.json", "model"):
        (tmp_path / name).rename(moved / name)
    there = changed(
        changed(config, "data.train_file", str(moved / "train.json")), "model.pretrained", str(moved / "model")
    )
    assert differences(held, identity(there, tmp_path)) == []
    monkeypatch.setenv("THERE", str(moved))
    listed = changed(there, "data.train_file", ["${oc.env:THERE}/train.json"])
    assert differences(held, identity(listed, tmp_path)) == []
    with pytest.raises(UserError, match=r"train\.json: no such file"):
        identity(config, tmp_path)

    validation = tmp_path / "validation.json"  # another id, and nothing else
    validation.write_text(validation.read_text().replace("when-20", "then-20"))
    (line,) = differences(held, identity(there, tmp_path))
    assert line.startswith("the content of validation (")
    weights = moved / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert [line.partition(" (")[0] for line in differences(held, identity(there, tmp_path))] == [
        "the content of model",
        "the content of validation",
    ]


def test_a_fit_that_began_with_a_model_is_the_same_where_that_is_calibrated_later(
    config: dict[str, Any], tmp_path: Path
) -> None:
    test, known = changed(config, "stage", "validate"), tmp_path / "model" / "qa.json"
    plain = identity(config, tmp_path)
    known.write_text("{}")
    fit, evaluation = identity(config, tmp_path), identity(test, tmp_path)
    earlier = {**fit, "inputs": {**fit["inputs"], "model": fit["inputs"]["model"][-1:]}}
    assert [differences(held, identity(config, tmp_path)) for held in (plain, fit, earlier)] == [[], [], []]
    known.write_text('{"temperature": 1.5, "no_answer_threshold": 0.5}')
    assert [differences(held, identity(config, tmp_path)) for held in (plain, fit)] == [[], []]
    (line,) = differences(evaluation, identity(test, tmp_path))  # whose figures are those of its threshold
    assert line.startswith("the content of model (")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    assert differences(fit, identity(config, tmp_path))


def test_what_is_evaluated_counts_by_its_content(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_text("a")
    (tmp_path / "b.ckpt").write_text("b")
    test = changed(config, "stage", "validate")
    one, other = (identity(changed(test, "resume", str(tmp_path / f"{name}.ckpt")), tmp_path / "run") for name in "ab")
    assert set(one["inputs"]) == {"validation", "resume"}
    assert [line.partition(" (")[0] for line in differences(one, other)] == ["the content of resume"]
    own = changed(config, "resume", str(tmp_path / "a.ckpt"))  # of the folder itself, where it will change
    assert "resume" not in identity(own, tmp_path)["inputs"]


def test_what_the_hub_has_counts_by_its_commit(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    hub = changed(config, "model.pretrained", "ada/bridges")
    unknown = identity(hub, tmp_path)
    assert unknown["inputs"]["model"] == ["ada/bridges@"]
    refs = tmp_path / "hub" / "models--ada--bridges" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("a" * 40)
    first = identity(hub, tmp_path)
    assert differences(unknown, first) == differences(first, unknown) == []
    (refs / "main").write_text("b" * 40)
    (line,) = differences(first, identity(hub, tmp_path))
    assert line.endswith(f"; ada/bridges@{'a' * 40} can be given)")
    fixed = identity(changed(config, "model.pretrained", "ada/bridges@" + "a" * 40), tmp_path)
    assert differences(first, fixed) == []
    assert cached_commit("ada/bridges", "v2", "model") == ""


def test_other_code_and_versions_are_named() -> None:
    held = {"code": "a" * 40, "versions": {"torch": "2.12.0", "numpy": "2"}}
    here = {"code": "b" * 40, "versions": {"torch": "2.13.0", "numpy": "2"}}
    assert other_code(held, here) == "torch 2.12.0 (2.13.0 here), commit aaaaaaaaaaaa (bbbbbbbbbbbb here)"
    assert other_code(held, held) == ""


def test_a_library_that_is_not_there_has_no_version(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qa.runs.identity.LIBRARIES", ("torch", "not-installed"))
    assert set(identity(config, tmp_path)["versions"]) == {"torch"}
