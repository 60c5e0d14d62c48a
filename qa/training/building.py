"""Builds the parts of a run: data, model, trainer, history, loggers."""

import os
import shlex
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler

from qa import processes
from qa.config.composed import overrides, resolved
from qa.config.settings import EVALUATION_LIMITS, Settings
from qa.config.targets import build
from qa.data.datamodule import SPLITS, SquadDataModule
from qa.data.windows.tokenizer import check_lengths, load_tokenizer
from qa.errors import UserError, one_line
from qa.hub import check_pretrained
from qa.model.answering import Answering
from qa.model.optimization import parameter_groups
from qa.model.pretrained import check_model
from qa.runs.checkpoints import as_begun, check_same_run, find_checkpoint, load_checkpoint
from qa.runs.folder import RunFolder
from qa.runs.identity import identity
from qa.runs.results import Monitor, metric_of
from qa.runs.weights import base_of, known_of
from qa.tracking.metrics_file import MetricsFile
from qa.training.callbacks import Metrics, build_callbacks
from qa.training.checkpoint_files import CheckpointFiles
from qa.training.collectives import connect
from qa.training.devices import check_driver, check_precision
from qa.training.history import History
from qa.training.module import QuestionAnsweringModule
from qa.training.parts import Parts

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


def build_parts(cfg: Any, composed: Any, settings: Settings, folder: Path) -> Parts:
    """Reads the data and builds the rest; the cheapest checks come first.

    `cfg`: the configuration, which is completed here; `composed`: the same as Hydra composed it, the run's identity.
    Errors: UserError.
    """
    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    run, fitting, splits = RunFolder(folder), settings.stage == "fit", SPLITS[settings.stage]
    checkpoint = find_checkpoint(settings.resume, folder, fitting)
    state = load_checkpoint(checkpoint) if checkpoint else None
    if checkpoint and state and not fitting:
        cfg.model.pretrained = base_of(checkpoint, state, cfg.model.pretrained)
    elif checkpoint and state:  # before the data are read
        for config in (cfg, composed):
            config.model.pretrained = as_begun(config.model.pretrained, state, "model")
            config.data.name = as_begun(config.data.name, state, "train")
        wanted = identity(resolved(composed), folder)
        check_same_run(checkpoint, state, wanted, folder)
    check_driver(settings)
    callbacks = build_callbacks(settings.callbacks or {})
    trainer = build_trainer(cfg, settings, run)
    check_optimizer(cfg, trainer.strategy.root_device)
    cfg.model.pretrained = check_pretrained(cfg.model.pretrained)
    answering = Answering() if fitting else known_of(settings.resume, cfg.model.pretrained)
    tokenizer = load_tokenizer(cfg.model.pretrained)
    check_lengths(tokenizer, cfg.data.max_length, cfg.data.stride)
    check_model(cfg.model.pretrained, tokenizer, cfg.data.max_length)
    data: SquadDataModule = build(cfg.data)
    for split in splits:
        data.prepare_split(split, tokenizer, settings.trainer.get(EVALUATION_LIMITS.get(split, "")))
    steps_per_epoch, total_steps = count_steps(data, settings) if fitting else (1, 1)
    if isinstance(interval := settings.trainer["val_check_interval"], int) and interval > steps_per_epoch:
        trainer.check_val_every_n_epoch = None  # to Lightning: count the steps over epochs
    module: QuestionAnsweringModule = build(
        cfg.model,
        optimizer=build(cfg.optimizer),
        scheduler=build(cfg.scheduler),
        total_steps=total_steps,
        seed=settings.seed,
        micro_batch_size=data.micro_batch_size,
        nonfinite=settings.nonfinite,
        no_answer_threshold=answering.no_answer_threshold,
        **settings.decode.model_dump(),
    )
    run_identity = identity(resolved(composed), folder)  # again: now the commits of the hub are known
    if checkpoint and state and fitting and run_identity["inputs"] != wanted["inputs"]:
        check_same_run(checkpoint, state, run_identity, folder)
    run_identity |= answering.model_dump(include={"trained", "chosen_on"}, exclude_none=True)
    if fitting:
        base = Answering.load(cfg.model.pretrained).trained
        run_identity |= {"base": base} if base else {}  # of the model that this run trains further
        before = base.get("languages", [""]) if base else []
        trained = {example.language or "" for example in data.splits["train"].examples}
        run_identity["languages"] = sorted({*before, *trained})
        check_monitored(settings.checkpoint.monitor, data)
    kept = settings.checkpoint
    files = CheckpointFiles(folder, kept.keep, kept.optimizer_state, kept.on_error)
    when = kept.every_n_steps, kept.every_n_minutes
    history = History(files, steps_per_epoch, run_identity, kept.monitor, *when)
    metrics = Metrics()
    trainer.callbacks += [metrics, *callbacks, *pruning(cfg, fitting), *([history] if fitting else [])]  # type: ignore[attr-defined]
    words = shlex.join(["python", "train.py", *overrides()])
    return Parts(settings, run, words, data, module, trainer, history, metrics, checkpoint, answering, splits)


def check_monitored(monitor: Monitor, data: SquadDataModule) -> None:
    """Errors: UserError where the validation questions will not give the figure of languages that is asked for."""
    _, asked = metric_of(monitor)
    languages = sorted({e.language for e in data.splits["validation"].evaluated_examples() if e.language})
    if asked and (len(languages) < 2 or asked not in ("mean", *languages)):
        there = f"in {', '.join(languages)}" if languages else "in no known language"
        raise UserError(
            f"checkpoint.monitor={monitor}: the validation questions are {there}; choose one of several languages, name"
            " them by data.languages, or take f1"
        )


def check_optimizer(cfg: Any, device: torch.device) -> None:
    """Tries a step on two weights. Errors: UserError for what optimizer or scheduler refuses; before data are read."""
    weights = [torch.nn.Parameter(torch.zeros(shape, device=device)) for shape in ((1, 1), (1,))]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    part = "optimizer"
    try:
        optimizer = build(cfg.optimizer, part)(parameter_groups(weights))
        optimizer.step()
        part = "scheduler"
        build(cfg.scheduler, part)(optimizer, 1).step()
    except (TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
        raise UserError(f"{part}: {one_line(error)}") from None


def build_trainer(cfg: Any, settings: Settings, run: RunFolder) -> Trainer:
    """Builds a trainer with connected ranks, and without callbacks. Errors: UserError."""
    # the history ends a fit, after its last evaluation; max_steps would end it before
    profiler = PROFILERS.get(settings.trainer["profiler"])
    trainer: Trainer = build(
        cfg.trainer, "trainer", max_steps=-1, max_epochs=cfg.trainer.max_epochs or -1, enable_checkpointing=False,
        logger=build_loggers(settings, run),
        profiler=profiler and profiler(run.profile, "profile"), **dict.fromkeys(EVALUATION_LIMITS.values()),
    )  # fmt: skip
    connect(trainer)
    device = trainer.strategy.root_device
    check_precision(settings, device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision(settings.matmul_precision)
    return trainer


def build_loggers(settings: Settings, run: RunFolder) -> list[Logger]:
    """The chosen logger, and `metrics.csv` for the curves.

    `metrics.csv` comes last: a resumed run repeats its old rows to the other logger before it adds new ones.
    """
    if not settings.logger:
        return []
    logger = build(settings.logger, "logger")
    if not isinstance(logger, Logger):
        raise UserError("logger: is no logger of Lightning; give the _target_ of one")
    return [logger] if isinstance(logger, MetricsFile) else [logger, MetricsFile(str(run.metrics))]


def count_steps(data: SquadDataModule, settings: Settings) -> tuple[int, int]:
    """Steps of an epoch and of the whole fit. Errors: UserError where there are none."""
    steps, trainer = data.batch_count(), settings.trainer
    if (limit := trainer["limit_train_batches"]) is not None:  # a count or a share, as Lightning has it
        steps = min(steps, limit) if isinstance(limit, int) else int(steps * limit)
    by_epochs, by_steps = steps * (trainer["max_epochs"] or -1), trainer["max_steps"]
    ends = [end for end in (by_epochs, by_steps) if end is not None and end >= 0]
    if min(ends) == 0:
        raise UserError("trainer: no step to take; raise max_epochs, max_steps or limit_train_batches")
    if (least := max(trainer["min_steps"] or 0, steps * (trainer["min_epochs"] or 0))) > min(ends):
        raise UserError(
            f"trainer: min_epochs or min_steps ask for {least} steps, the schedule has {min(ends)}; raise max_epochs or"
            " max_steps, or lower them"
        )
    return steps, min(ends)


def pruning(cfg: Any, fitting: bool) -> list[Callback]:
    """The callback that ends a bad trial early, where this run is a trial of a search."""
    trial = os.environ.get(processes.TRIAL)
    if not fitting or not trial:
        return []
    from qa.training.pruning import Pruning  # with Optuna, which searches alone need

    return [Pruning(trial, build(cfg.sweep.pruner))]
