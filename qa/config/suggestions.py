"""The meaning of a wrong name: neighbours' words for our settings, and names that come close."""

import difflib
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from qa.config.run_qa_flags import KEYS

CONF = Path(__file__).parents[2] / "conf"
# other programs' names for our settings
NEIGHBOURS = {
    word: key
    for key, words in {
        "trainer.devices": "gpus num_gpus n_gpu num_devices nproc_per_node",
        "trainer.accelerator": "device",
        "trainer.precision": "amp bf16 fp16 mixed_precision use_amp",
        "trainer.max_epochs": "epoch epochs n_epochs nb_epochs num_epochs",
        "trainer.max_steps": "max_train_steps num_steps num_train_steps steps total_steps train_steps",
        "trainer.gradient_clip_val": "clip clip_grad_norm grad_clip gradient_clip gradient_clipping max_norm",
        "checkpoint.monitor": "metric",
        "resume": "checkpoint_path ckpt ckpt_path from_checkpoint resume_from resume_from_checkpoint",
        "optimizer": "optim",
        "optimizer.lr": "base_lr initial_lr lr max_lr",
        "scheduler": "lr_schedule lr_scheduler lr_scheduler_type",
        "scheduler.warmup_ratio": "warmup warmup_proportion warmup_steps",
        "data.batch_size": "batch_size bs bsz per_device_train_batch_size per_gpu_train_batch_size train_batch_size",
        "data.eval_batch_size": "test_batch_size val_batch_size validation_batch_size",
        "data.max_length": "max_len max_seq_len max_sequence_length seq_len sequence_length",
        "data.num_workers": "n_workers workers",
        "data.limit": "max_examples max_samples n_samples num_samples",
        "data.train_file": "data.file data.files data.path train train_data train_path training_file",
        "data.validation_file": "dev_file eval_file val_file valid_file validation validation_data validation_path",
        "data.test_file": "predict_file test_data test_path",
        "data.name": "dataset",
        "model.pretrained": "model.checkpoint model.name model.path model_id model_name model_path pretrained_model",
        "stage": "mode",
        "sweep.n_trials": "num_trials trials",
        "hydra.run.dir": "log_dir out_dir output run_dir save_dir",
        "hydra.launcher.n_jobs": "jobs n_jobs num_jobs",
        "callbacks=early_stopping": "early_stopping patience",
        "seed": "manual_seed random_seed random_state seed_everything",
    }.items()
    for word in words.split()
}
# settings that the W&B logger leaves to W&B's own variables
OF_WANDB = {"entity": "ENTITY", "group": "RUN_GROUP", "job_type": "JOB_TYPE", "notes": "NOTES", "tags": "TAGS"}


def suggestion(name: str, choices: Iterable[str]) -> str:
    """The end "; did you mean …" for a name that means a setting or comes close to one choice, else where to look."""
    group, _, last = name.rpartition(".")
    every = dict.fromkeys(part for choice in choices for part in (choice, choice.partition(".")[0]))
    ends = {choice: choice.rpartition(".")[2] for choice in every if "._" not in f".{choice}"}
    same = [choice for choice, end in ends.items() if end == last]
    if key := NEIGHBOURS.get(name):
        return f"; did you mean {key}?"
    if len(same) == 1:
        return f"; did you mean {same[0]}?"
    if last in OF_WANDB and group in ("", "logger", "wandb"):
        return f"; set WANDB_{OF_WANDB[last]}, which W&B reads"
    if having := _choices_with(group, last):
        return f"; {' and '.join(f'{group}={choice}' for choice in having)} {'has' if len(having) == 1 else 'have'} it"
    if key := NEIGHBOURS.get(last) or KEYS.get(last):
        return f"; did you mean {key}?"
    near = {choice: end for choice, end in ends.items() if not group or choice.rpartition(".")[0] == group}
    typed = difflib.get_close_matches(last, near.values(), n=1, cutoff=0.8)
    close = [choice for choice, end in near.items() if end in typed or sorted(end) == sorted(last)]
    close = close or [choice for choice, end in near.items() if group and {*last.split("_")} <= {*end.split("_")}]
    return f"; did you mean {close[0]}?" if len(close) == 1 else "; see `python train.py --help`"


def _choices_with(group: str, name: str) -> list[str]:
    """The choices of a group that have this setting in their own file."""
    contents = read_choices(group).items()
    return [choice for choice, content in contents if name in {**content, **(content.get(group) or {})}]


@functools.cache
def read_choices(group: str) -> dict[str, dict[str, Any]]:
    """{choice: content of its file} of a group of conf/; empty for what is no group."""
    files = sorted((CONF / group).glob("*.yaml")) if group else []
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) or {} for path in files}


def own_files(group: str, value: str) -> str:
    """The way to give a file or a model that is no choice of its group; empty for a choice, and for other groups."""
    ways = {"data": "data=local data.train_file={}", "model": "model.pretrained={}"}
    is_choice = (CONF / group / f"{value}.yaml").is_file()
    return "" if is_choice or value == "VALUE" else ways.get(group, "").format(value)
