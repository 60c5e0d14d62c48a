"""The run folder before a run: shown where it is finished, refused where it is another's, then taken."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from qa import processes, ranks
from qa.config.composed import resolved
from qa.config.hydra_errors import explain_in_job
from qa.config.targets import check_complete
from qa.console import console, log_files
from qa.errors import UserError
from qa.hub import model_folder
from qa.processes import stop
from qa.runs.folder import PRUNED, RunFolder, foreign_contents, held_identity, lock, move_aside
from qa.runs.identity import differences, identity
from qa.storage import new_folder, write_text

EMPTY = ": empty, which would be this folder; give one, or leave it out"


class RunStart(Callback):
    """Locks the run folder and decides: new run, resume, already finished, or not ours to write into."""

    lock: int | None = None
    folder: Path | None = None  # of this run, once it is this process's
    sweep: Path | None = None  # the folder of this sweep
    new_folders: tuple[Path, ...] = ()  # of this process, the innermost first
    finished = False  # the folder holds this very run, and there is nothing to do but to show it

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Notes the folder, for the command that resumes the sweep."""
        if not config.hydra.sweep.dir:
            stop(f"hydra.sweep.dir={EMPTY}")
        RunStart.sweep = Path(config.hydra.sweep.dir)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Locks and checks the folder, before anything is written. Ends the program where it may not be used."""
        if not config.hydra.run.dir:
            stop(f"hydra.run.dir={EMPTY}")
        rank = ranks.rank()
        if rank is not None and ranks.started_here():
            return
        if rank is not None and not any("hydra.run.dir=" in argument for argument in sys.argv):
            stop("several processes of one run: give them one hydra.run.dir=FOLDER that all can reach")
        if rank:
            console.quiet = True  # the first rank speaks for all
        folder = Path(config.hydra.run.dir)
        try:
            check_complete(config, config.hydra.overrides.task)
            check_sweep(config)
            if not rank:
                folder = _lock(folder, config)
            RunStart.finished = RunStart.finished or is_finished(folder, config)
        except Exception as error:
            line = explain_in_job(error)
            if isinstance(error, OSError):
                line = f"{folder}: {error.strerror}; give another hydra.run.dir"
            if line is None:
                raise
            if rank:
                sys.exit(2)
            stop(line)


def check_sweep(config: DictConfig) -> None:
    """Refuses a sweep without -m: it would be one run of the usual settings. Errors: UserError."""
    is_ours = str(config.hydra.sweeper.get("_target_")).startswith("hydra_plugins.qa_sweeps.")
    if is_ours and processes.SWEEP not in os.environ:
        choice = config.hydra.runtime.choices["hydra/sweeper"]
        raise UserError(f"sweep={choice}: sweeps with -m alone; add -m, or leave sweep={choice} out")


def _lock(folder: Path, config: DictConfig) -> Path:
    """Locks the folder for this process, and returns it. A folder named to the second is a new one.

    A finished run in a folder that cannot be written is shown without a lock.
    """
    try:
        missing = tuple(place for place in (folder, *folder.parents) if not place.exists())
        if "%S" in str(OmegaConf.to_container(config.hydra.run)):  # several may start in one second
            missing = (new_folder(folder), *(place for place in missing if place != folder))
            folder = missing[0]
            config.hydra.run.dir = str(folder)
        folder.mkdir(parents=True, exist_ok=True)
        RunStart.new_folders = missing
        RunStart.lock, RunStart.folder = lock(folder), folder
    except OSError:
        if not folder.is_dir() or not is_finished(folder, config):
            raise
        RunStart.finished = True
    return folder


def remove_unused() -> None:
    """Removes the folder of a refused run, if this process made it and it holds nothing but its lock and log."""
    folder = RunStart.folder
    if folder is None or folder not in RunStart.new_folders:
        return
    with suppress(OSError):
        if {*folder.iterdir()} <= {RunFolder(folder).log, RunFolder(folder).lock}:
            for path in folder.iterdir():
                path.unlink()
            for place in RunStart.new_folders:
                place.rmdir()  # one that holds anything else is an error, and stays


def is_finished(folder: Path, config: DictConfig) -> bool:
    """Whether the folder holds this very run, finished.

    Errors: UserError for a folder that holds anything that this run must not replace.
    """
    if foreign := foreign_contents(folder):
        raise UserError(
            f"{folder}: holds {', '.join(foreign)}, and not from a run of this program; give another hydra.run.dir"
        )
    run = RunFolder(folder)
    replaced = config.resume == "never" or not run.results.exists()
    if (run.checkpoints.exists() or run.model.exists()) and replaced and config.stage != "fit":
        raise UserError(
            f"{folder}: holds a fit, which stage={config.stage} does not replace; give another hydra.run.dir"
        )
    values = resolved(config)
    if ranks.starts_over(config.resume):
        _check_may_move(folder, values)
        return False
    finished = held_identity(folder)
    if finished is None:
        return False
    wanted = identity(values, folder)
    if processes.TRIAL in os.environ and PRUNED in finished["settings"]:
        wanted["settings"][PRUNED] = True
    if differ := differences(finished, wanted):
        raise UserError(_other_run(folder, differ, finished, wanted))
    return True


def _other_run(folder: Path, differ: list[str], finished: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The error for a finished folder that holds another run, with the remedy."""
    words = f"{folder}: holds a finished run of other settings or data: {', '.join(differ)}; "
    keys = [text.partition(" ")[0] for text in differ]
    epochs, more = (run["settings"].get("trainer.max_epochs") or 0 for run in (finished, wanted))
    if keys == ["trainer.max_epochs"] and more > epochs:
        return words + f"to train it further give resume={folder}/checkpoints/last.ckpt and another hydra.run.dir"
    if keys == ["push_to_hub"] and (name := wanted["settings"]["push_to_hub"]):
        return words + f"upload its model by: hf upload {name} {folder}/model"
    return words + "give another hydra.run.dir"


def _check_may_move(folder: Path, values: Mapping[str, Any]) -> None:
    """`resume=never` moves an earlier run aside, but nothing that this run reads."""
    moved = RunFolder(folder.resolve()).contents
    keys = ("model.pretrained", *(f"data.{name}_file" for name in ("train", "validation", "test", "predictions")))
    for read in filter(None, (values.get(key) for key in keys)):
        for path in read if isinstance(read, list) else [read]:
            if any(Path(model_folder(path)).resolve().is_relative_to(place) for place in moved):
                raise UserError(f"{path}: is in {folder}, which resume=never moves aside; give another hydra.run.dir")


def take(folder: Path, config: DictConfig, start_over: bool) -> None:
    """Makes the folder this run's, once its data and model are known to be good: its first write.

    `start_over`: whether an earlier run in it is moved aside. Writes `.hydra/`: Hydra would do so too early.
    """
    if start_over and (aside := move_aside(folder)):
        for handler in log_files():
            handler.close()  # its file was moved; the next line opens a new one
        console.print(f"what was in {folder} is now in {aside}")
    RunFolder(folder).interrupted.unlink(missing_ok=True)
    inside = RunFolder(folder).hydra
    inside.mkdir(exist_ok=True)
    hydra = HydraConfig.get()
    parts = {"config": config, "hydra": OmegaConf.create({"hydra": hydra}), "overrides": hydra.overrides.task}
    for name, part in parts.items():
        write_text(inside / f"{name}.yaml", OmegaConf.to_yaml(part))
