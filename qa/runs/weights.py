"""The weights that an evaluation takes: where their model is, and the facts about them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qa.errors import UserError
from qa.model.answering import Answering
from qa.runs.checkpoints import load_checkpoint
from qa.runs.folder import RunFolder
from qa.runs.identity import is_same_model, model_contents, question_hashes
from qa.runs.results import Row

HISTORY = "History"  # under which a checkpoint has the rows of its run
LENGTHS = {  # of windows and answers, as `qa.json` and as settings call them
    "max_length": "data.max_length",
    "stride": "data.stride",
    "max_answer_length": "decode.max_answer_length",
    "n_best": "decode.n_best",
}


def known_of(resume: str, pretrained: str) -> Answering:
    """The facts about the model that an evaluation takes by these two settings. Errors: UserError."""
    if resume in ("auto", "never"):
        return Answering.load(pretrained)
    return known_of_checkpoint(Path(resume), load_checkpoint(Path(resume)))


def known_of_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> Answering:
    """The facts about these very weights: of the checkpoint, and of RUN/model where that has the same."""
    beside, recorded = _model_beside(path), _recorded(checkpoint)
    answering = Answering.load(str(beside)) if beside else Answering()
    is_best = path.name == RunFolder(Path()).best.name
    is_same = answering.trained.get("step") == checkpoint["global_step"] if answering.trained else is_best
    return recorded.model_copy(update=answering.model_dump(exclude_unset=True)) if is_same else recorded


def base_of(path: Path, checkpoint: Mapping[str, Any], asked: str) -> str:
    """The model that a checkpoint's weights belong into: RUN/model, or that which its run began with.

    `asked`: where the latter may be now. Errors: UserError where neither place has what it was.
    """
    if beside := _model_beside(path):
        return str(beside)
    begun, recorded = str(checkpoint["pretrained"]), checkpoint["run"].get("inputs", {}).get("model")
    if recorded is None:  # an earlier version's
        return begun
    for name in (begun, asked):
        if is_same_model(model_contents(name), recorded):
            return name
    raise UserError(
        f"resume={path}: its run began with {begun}, which is not there any more, or not what it was; give"
        " model.pretrained=FOLDER with the same files"
    )


def _model_beside(path: Path) -> Path | None:
    """RUN/model of RUN/checkpoints/NAME.ckpt; None before the run is finished, and where RUN is no run."""
    run = RunFolder(path.resolve().parent.parent)
    return run.model if run.results.is_file() and (run.model / "config.json").is_file() else None


def _recorded(checkpoint: Mapping[str, Any]) -> Answering:
    """The facts in a checkpoint itself: lengths, threshold, and its run."""
    run, step, state = checkpoint["run"], checkpoint["global_step"], checkpoint["callbacks"][HISTORY]
    row = next((row for row in map(Row.model_validate, state["rows"]) if row.step == step), Row(step=step))
    steps = checkpoint.get("steps_per_epoch")  # which earlier versions do not have
    if not row.epoch and steps:
        row.epoch = step / steps
    is_best = state["best"] is not None and state["best"]["step"] == step
    return answering_of(run, row, state["schedule"], epoch=is_best, threshold=row.is_v2)


def answering_of(run: Mapping[str, Any], row: Row, schedule_changes: list[dict[str, int]], **chosen: bool) -> Answering:
    """The facts about the weights of a fit at `row`: lengths, threshold, origin, and what its questions chose."""
    settings, questions = run.get("settings", {}), question_hashes(run, "validation")
    changes = {"schedule_changes": schedule_changes} if schedule_changes else {}
    return Answering(
        **{name: settings[key] for name, key in LENGTHS.items() if key in settings},
        no_answer_threshold=row.threshold,
        chosen_on={choice: questions for choice, is_chosen in chosen.items() if is_chosen},
        trained={**run, **changes, "epoch": row.epoch, "step": row.step},
    )
