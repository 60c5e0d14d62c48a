"""A command of Hugging Face's `run_qa.py` as overrides of train.py."""

import math
import shlex
from collections.abc import Mapping
from typing import Any

from qa.config.command_line import quoted
from qa.config.run_qa_flags import BATCH, CHOICES, KEYS, SAMPLES, STAGES, WHY
from qa.errors import UserError

# run_qa.py's defaults in a training that are not ours
DEFAULTS = {"weight_decay": 0.0, **dict.fromkeys((BATCH[0], "per_device_eval_batch_size"), 8), "learning_rate": 5e-5}
STAGE_FILES = {"fit": "train_file", "validate": "validation_file", "predict": "test_file"}
POSITIVE = {
    *(*BATCH, *SAMPLES.values()),
    *("per_device_eval_batch_size", "max_seq_length", "n_best_size", "max_answer_length", "num_train_epochs"),
}
HELD_OUT = "data.validation_share=0.1"


def translate(flags: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Overrides of train.py, and a note about each flag that has none.

    Errors: UserError for a command that run_qa.py would refuse.
    """
    stage = _checked_stage(flags)
    is_fit, is_local = stage == "fit", "dataset_name" not in flags
    notes = {}
    overrides = ["optimizer=adamw" if is_fit else f"stage={stage}", *(["data=local"] if is_local else [])]
    for name, value in ({**DEFAULTS, **flags} if is_fit else flags).items():
        translated = _translated(name, value, flags, stage)
        if isinstance(translated, str):
            notes[name] = translated
        else:
            overrides += [word for word in translated if word and word not in overrides]
    if is_fit and is_local and "validation_file" not in flags:
        overrides.append(HELD_OUT)
        notes["validation_file"] = f"not given, so {HELD_OUT} holds paragraphs out; better give data.validation_file"
    if is_fit and SAMPLES["fit"] in flags:
        notes[SAMPLES["fit"]] = "data.limit is for every split"
    lines = [f"--{name}: {note}" for name, note in notes.items()]
    return overrides, [*lines, "the loss leaves padding out of the softmax"]


def _checked_stage(flags: Mapping[str, Any]) -> str:
    """The first stage that is on. Errors: UserError, all that run_qa.py would refuse in one line."""
    stages = [stage for name, stage in STAGES.items() if flags.get(name)]
    wrong = []
    if not stages:
        wrong.append("none of --do_train, --do_eval, --do_predict is on: run_qa.py does nothing")
    if "model_name_or_path" not in flags:
        wrong.append("--model_name_or_path: not given; name the model")
    if "dataset_name" not in flags:
        needed = [STAGE_FILES[stage] for stage in stages if stage != "validate" or stages[0] == "validate"]
        wrong += [f"--{name}: not given, nor --dataset_name" for name in needed if name not in flags]
    if flags.get("fp16") and flags.get("bf16"):
        wrong.append("--fp16, --bf16: give one of them")
    for name, value in flags.items():
        number = isinstance(value, int | float) and name not in ("max_steps", "save_total_limit")
        if number and not (0 < value < math.inf if name in POSITIVE else 0 <= value < math.inf):
            wrong.append(f"--{name}={value}: should be finite and {'above' if name in POSITIVE else 'at least'} 0")
    if (stride := flags.get("doc_stride", 128)) >= (length := flags.get("max_seq_length", 384)):
        wrong.append(f"--doc_stride: {stride} is not below --max_seq_length, which is {length}")
    if wrong:
        raise UserError("; ".join(wrong))
    return stages[0]


def _translated(name: str, value: Any, flags: Mapping[str, Any], stage: str) -> list[str] | str:
    """The overrides that mean a flag, or why there are none."""
    steps = flags.get("max_steps", -1)
    match name:
        case "do_predict" if value and stage != "predict":
            return _then_predict(flags, stage)
        case _ if name in (*STAGES, "model_revision"):
            return []
        case "model_name_or_path" if "model_revision" in flags:
            return [f"model.pretrained={quoted(value + '@' + flags['model_revision'])}"]
        case "dataset_name" if value.removeprefix("rajpurkar/") in ("squad", "squad_v2"):
            return [f"data={value.removeprefix('rajpurkar/')}"]
        case "train_file" | "validation_file" | "test_file" if "dataset_name" in flags:
            return "--dataset_name decides, as there"
        case _ if name in SAMPLES.values() and name != SAMPLES[stage]:
            return "data.limit is for every split"
        case _ if name in BATCH:
            count = math.prod(flags.get(part, 1) for part in ("gradient_accumulation_steps", "nproc_per_node"))
            return [f"data.batch_size={count * flags.get(BATCH[0], DEFAULTS[BATCH[0]])}"] if stage == "fit" else []
        case "nproc_per_node":
            return [f"trainer.devices={value}"] if flags.get("nnodes", 1) == 1 else []
        case "nnodes" if value > 1:
            return "start train.py by the same launcher; data.batch_size counts one node's devices: multiply it"
        case "num_train_epochs" if steps > 0:
            return "--max_steps decides, as there"
        case "num_train_epochs" if not value.is_integer():
            return "whole epochs only; trainer.max_steps=N ends a training within one"
        case "max_steps":
            return [f"trainer.max_steps={value}", "trainer.max_epochs=-1"] if value > 0 else []
        case "warmup_ratio" | "warmup_steps":
            return _warmup(flags)
        case "adam_beta1" | "adam_beta2":
            betas = (flags.get(beta, default) for beta, default in (("adam_beta1", 0.9), ("adam_beta2", 0.999)))
            return [f"optimizer.betas=[{','.join(map(_written, betas))}]"]
        case "eval_strategy" if value == "steps" and _is_count(flags.get("eval_steps", 0)):
            return ["trainer.check_val_every_n_epoch=null"]
        case "eval_steps" if not (_is_count(value) and flags.get("eval_strategy") == "steps"):
            return WHY["eval_strategy"]
        case "save_steps" if not (_is_count(value) and flags.get("save_strategy", "steps") == "steps"):
            return WHY["save_strategy"]
        case "save_total_limit" if value > 0:
            return [f"checkpoint.keep={value - 1}"]
        case "push_to_hub" | "hub_model_id":
            is_named = flags.get("push_to_hub") and flags.get("hub_model_id", "").count("/") == 1
            return [f"push_to_hub={quoted(flags['hub_model_id'])}"] if is_named else WHY["push_to_hub"]
        case "run_name" if flags.get("report_to") == "wandb":
            return [f"logger.name={quoted(value)}"]
        case _ if name in CHOICES:
            choices = CHOICES[name]
            there = ", ".join(dict.fromkeys(choices.values()))
            return [choices[value]] if value in choices else f"{value} has no counterpart; there is {there}"
        case _ if name in KEYS:
            return [f"{KEYS[name]}={_written(value)}"]
    return WHY.get(name, "trainer.devices=N starts the processes")


def _then_predict(flags: Mapping[str, Any], stage: str) -> str:
    words = {name: flags[name] for name in ("dataset_name", "test_file") if name in flags}
    data = [word for name in words for word in _translated(name, words[name], flags, "predict")]
    source = "model.pretrained=RUN/model" if stage == "fit" else f"model.pretrained={flags['model_name_or_path']}"
    local = [] if "dataset_name" in flags else ["data=local"]
    return f"afterwards: {shlex.join(['python', 'train.py', 'stage=predict', *local, *data, source])}"


def _warmup(flags: Mapping[str, Any]) -> list[str] | str:
    """The warm-up: steps decide over a share, and the constant schedule, which has none, over both, as there."""
    steps, warm = flags.get("max_steps", -1), flags.get("warmup_steps") or flags.get("warmup_ratio", 0.0)
    if flags.get("lr_scheduler_type") == "constant":
        return "--lr_scheduler_type constant has none, as there"
    if flags.get("warmup_steps", 0) >= 1:
        warm = int(warm)
        if warm > steps:
            return WHY["warmup_steps"]
        # the number of steps is rounded up from the share
        warm = warm / steps if math.ceil(warm / steps * steps) == warm else (warm - 0.5) / steps
    return [f"scheduler.warmup_ratio={_written(float(warm))}"] if warm <= 1 else "should be at most 1"


def _is_count(value: float) -> bool:
    return value >= 1 and value.is_integer()


def _written(value: Any) -> str:
    """A value in Hydra's grammar, a number as short as it can be."""
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short.replace("e-0", "e-")
    return quoted(value)
