"""What is known of weights: as their run's model has it, or as a checkpoint itself does."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from qa.errors import UserError
from qa.model.answering import Answering
from qa.runs.identity import is_trained_on, model_contents
from qa.runs.results import PerSplit, Results
from qa.runs.weights import base_of, known_of, known_of_checkpoint

ROWS: list[dict[str, Any]] = [
    {"epoch": 0.5, "step": 5, "NoAns_exact": 1.0, "best_f1_thresh": 0.0, "kept_threshold": -1.5},
    {"epoch": 1, "step": 10, "NoAns_exact": 1.0, "best_f1_thresh": 0.5},  # as of an earlier version
]
SETTINGS = {"seed": 7, "stage": "fit", "data.max_length": 64, "data.stride": 16, "decode.max_answer_length": 9}


def checkpoint(base: Path, step: int) -> dict[str, Any]:
    state = {"rows": ROWS, "best": ROWS[1], "schedule": []}
    inputs = {"train": ["aa"], "validation": ["bb"], "model": model_contents(str(base))}
    made = {"settings": SETTINGS, "inputs": inputs, "code": None, "versions": {}}
    where = {"global_step": step, "steps_per_epoch": 10, "pretrained": str(base)}
    return {"run": made, **where, "callbacks": {"History": state}}


@pytest.fixture
def base(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "base"))


@pytest.fixture
def finished(tiny: Path, tmp_path: Path) -> Path:
    """A run whose model is that of step 10."""
    model = Path(shutil.copytree(tiny, tmp_path / "run" / "model"))
    trained = {"settings": SETTINGS, "epoch": 1, "step": 10}
    Answering(max_length=64, temperature=1.5, trained=trained, chosen_on={"epoch": ["bb"]}).save(model)
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "results.json").touch()
    return tmp_path / "run"


def test_a_checkpoint_itself_has_lengths_threshold_and_epoch(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "x" / "last.ckpt"
    found = [known_of_checkpoint(path, checkpoint(base, step)) for step in (5, 7, 10)]
    assert {(known.max_length, known.stride, known.max_answer_length) for known in found} == {(64, 16, 9)}
    assert [known.no_answer_threshold for known in found] == [-1.5, None, 0.5]
    assert [(known.trained or {})["epoch"] for known in found] == [0.5, 0.7, 1]
    assert [set(known.chosen_on or {}) for known in found] == [{"threshold"}, set(), {"epoch", "threshold"}]
    assert {known.temperature for known in found} == {None}


def test_the_temperature_of_a_model_is_that_of_its_own_weights(base: Path, finished: Path) -> None:
    best, last, step = (finished / "checkpoints" / f"{name}.ckpt" for name in ("best", "last", "step-5"))
    assert known_of_checkpoint(last, checkpoint(base, 10)).temperature == 1.5
    assert known_of_checkpoint(step, checkpoint(base, 5)).temperature is None
    path = finished / "model" / "qa.json"
    path.write_text(json.dumps({"temperature": 1.5, "max_length": 64}))  # as of an earlier version
    known = known_of_checkpoint(best, checkpoint(base, 10))
    assert known.temperature == 1.5 and (known.trained or {})["settings"]["seed"] == 7
    assert known_of_checkpoint(step, checkpoint(base, 5)).temperature is None
    path.unlink()  # as of the earliest ones
    for name, taken in ((best, 10), (step, 5)):
        assert known_of_checkpoint(name, checkpoint(base, taken)).max_length == 64
    assert known_of_checkpoint(best, checkpoint(base, 10)).no_answer_threshold == 0.5


def test_lengths_are_those_of_the_model_or_the_checkpoint(base: Path, finished: Path) -> None:
    torch.save(checkpoint(base, 5), base / "a.ckpt")
    assert known_of(str(base / "a.ckpt"), "x").max_length == 64
    assert known_of("auto", str(finished)).max_length == 64
    assert known_of("auto", str(base)).model_fields_set == set()


def test_a_folder_called_model_beside_checkpoints_is_not_that_of_a_run(base: Path, tmp_path: Path) -> None:
    """A user's own layout: base/, copies/model/ with another base model, copies/checkpoints/best.ckpt."""
    other = Path(shutil.copytree(base, tmp_path / "copies" / "model"))
    (other / "tokenizer.json").write_text("{}")
    best, held = tmp_path / "copies" / "checkpoints" / "best.ckpt", checkpoint(base, 10)
    assert base_of(best, held, "any") == str(base)
    known = known_of_checkpoint(best, held)
    assert (known.no_answer_threshold, known.max_length) == (0.5, 64)


def test_weights_go_into_the_model_that_they_belong_to(base: Path, finished: Path, tmp_path: Path) -> None:
    held, moved = checkpoint(base, 5), tmp_path / "moved"
    assert base_of(finished / "checkpoints" / "a.ckpt", held, "any") == str(finished / "model")
    alone = tmp_path / "alone" / "checkpoints" / "a.ckpt"
    assert base_of(alone, held, "any") == str(base)
    Answering(temperature=1.5).save(base)  # as if it were calibrated since
    assert base_of(alone, held, "any") == str(base)
    base.rename(moved)
    with pytest.raises(UserError, match=r"its run began with .*base, which is not there any more, or not what it was"):
        base_of(alone, held, "any")
    assert base_of(alone, held, str(moved)) == str(moved)
    with (moved / "tokenizer.json").open("a") as file:
        file.write(" ")
    with pytest.raises(UserError, match=r"give model\.pretrained=FOLDER with the same files"):
        base_of(alone, held, str(moved))


def evaluation(stage: str, inputs: dict[str, Any], trained: dict[str, Any], **more: Any) -> tuple[bool, bool]:
    """Whether its questions chose something, and whether the model was trained on them."""
    made = {"settings": {"stage": stage, **more}, "inputs": inputs, "trained": trained}
    none = PerSplit()
    results = Results(
        epochs=[], best=None, windows=none, examples=none, windows_per_second=none, devices=1, identity=made
    )
    return bool(results.chosen(Path("RUN"))), bool(results.memory)


def test_an_evaluation_reports_what_chose_and_what_was_trained_on() -> None:
    trained = {"settings": SETTINGS, "inputs": {"train": ["aa"], "validation": ["bb"]}}
    assert evaluation("validate", {"validation": ["bb"]}, trained) == (True, False)
    assert evaluation("test", {"test": ["cc", "bb"]}, trained) == (True, False)
    assert evaluation("test", {"test": ["cc"]}, trained) == (False, False)
    assert evaluation("test", {"test": ["aa"]}, trained) == (False, True)
    assert not is_trained_on({}, "test", {})


def test_what_a_model_was_trained_on_before_it_was_trained_further_is_remembered() -> None:
    first = {"settings": SETTINGS, "inputs": {"train": ["aa"], "validation": ["bb"]}}
    second = {"settings": SETTINGS, "inputs": {"train": ["cc"], "validation": ["dd"]}, "base": first}
    assert evaluation("test", {"test": ["aa"]}, second) == (False, True)
    assert evaluation("test", {"test": ["cc"]}, {**second, "inputs": {}, "base": second}) == (False, True)
    assert evaluation("test", {"test": ["bb"]}, second) == (False, False)
    none = PerSplit(train=1)
    for validation, remembered in (("aa", True), ("bb", False)):
        made = {"settings": SETTINGS, "inputs": {"train": ["cc"], "validation": [validation]}, "base": first}
        fit = Results(
            epochs=[], best=None, windows=none, examples=none, windows_per_second=none, devices=1, identity=made
        )
        assert bool(fit.memory) is remembered


def test_splits_of_the_hub_and_shares_of_a_file_are_told_apart() -> None:
    name = ["ada/bridges@c"]
    trained: dict[str, Any] = {"settings": SETTINGS, "inputs": {"train": name, "validation": name}}
    assert evaluation("validate", {"validation": name}, trained) == (True, False)
    assert evaluation("test", {"test": name}, trained) == (False, False)
    share = {"data.validation_share": 0.1, "data.split_seed": 42}
    trained = {"settings": {**SETTINGS, **share}, "inputs": {"train": ["aa"]}}
    assert evaluation("validate", {"train": ["aa"]}, trained, **share) == (True, False)
    assert evaluation("validate", {"train": ["aa"]}, trained, **{**share, "data.split_seed": 7}) == (False, True)
    assert evaluation("test", {"test": ["aa"]}, trained) == (False, True)
