"""The flags of Hugging Face's `run_qa.py` as overrides of train.py."""

import difflib
import re
from collections.abc import Sequence

from qa.config.command_line import quoted
from qa.errors import UserError

# run_qa.py's and TrainingArguments' flags, and our keys that mean the same
KEYS = {
    "model_name_or_path": "model.pretrained",
    "dataset_name": "data.name",
    "train_file": "data.train_file",
    "validation_file": "data.validation_file",
    "test_file": "data.test_file",
    "max_seq_length": "data.max_length",
    "doc_stride": "data.stride",
    "n_best_size": "decode.n_best",
    "max_answer_length": "decode.max_answer_length",
    "max_train_samples": "data.limit",
    "per_device_eval_batch_size": "data.eval_batch_size",
    "learning_rate": "optimizer.lr",
    "weight_decay": "optimizer.weight_decay",
    "lr_scheduler_type": "scheduler",
    "warmup_ratio": "scheduler.warmup_ratio",
    "num_train_epochs": "trainer.max_epochs",
    "max_steps": "trainer.max_steps",
    "max_grad_norm": "trainer.gradient_clip_val",
    "gradient_checkpointing": "model.gradient_checkpointing",
    "save_steps": "checkpoint.every_n_steps",
    "save_total_limit": "checkpoint.keep",
    "metric_for_best_model": "checkpoint.monitor",
    "dataloader_num_workers": "data.num_workers",
    "hub_model_id": "push_to_hub",
    "report_to": "logger",
    "seed": "seed",
    "output_dir": "hydra.run.dir",
}
# what becomes of several of them together, or of a word
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps", "nproc_per_node")
PRECISION = {"fp16": "16-mixed", "bf16": "bf16-mixed"}
VALUES = {
    "metric_for_best_model": {
        "eval_loss": "val_loss",
        "loss": "val_loss",
        "eval_f1": "f1",
        "eval_exact_match": "exact_match",
    },
    "lr_scheduler_type": {"constant_with_warmup": "constant"},
    "report_to": {"all": "wandb"},
}
SWITCHES = ("do_train", "do_eval", "do_predict", "overwrite_output_dir", "gradient_checkpointing", *PRECISION)
# why a flag has no counterpart
WITHOUT = {
    "cache_dir": "set HF_HOME",
    "tokenizer_name": "the tokenizer is the model's own",
    "config_name": "the configuration is the model's own",
    "overwrite_cache": "windows are cached by their content; `make clean-cache` removes them",
    "preprocessing_num_workers": "windows take seconds, in one process",
    "pad_to_max_length": "batches are padded to their longest window; data.batching says which go together",
    "max_eval_samples": "data.limit is for every split",
    "max_predict_samples": "data.limit is for every split",
    "eval_strategy": "every epoch is evaluated; trainer.val_check_interval for more",
    "eval_steps": "trainer.val_check_interval, a share of an epoch or a number of steps",
    "save_strategy": "checkpoints come with every evaluation and every 15 minutes",
    "load_best_model_at_end": "RUN/model is the best epoch's",
    "logging_steps": "every step is logged",
    "logging_strategy": "every step is logged",
    "logging_dir": "everything is in hydra.run.dir",
    "warmup_steps": "scheduler.warmup_ratio, as a share of all steps",
    "resume_from_checkpoint": "a run resumes by itself in its folder; resume=CHECKPOINT takes one of ours",
    "push_to_hub": "push_to_hub=USER/NAME",
    "dataset_config_name": "the data set's default is taken",
    "trust_remote_code": "code from the hub is never run",
    "token": "set HF_TOKEN, or log in by `hf auth login`",
    "local_rank": "trainer.devices=N starts the processes",
    "version_2_with_negative": "the data say which questions have no answer",
    "null_score_diff_threshold": "the best one on the validation data is kept in RUN/model and used by stage=predict",
}
KNOWN = {*KEYS, *BATCH, *SWITCHES, *WITHOUT}
# run_qa.py's defaults that differ from ours
NUMBER = re.compile(r"[-+]?[\d.]+(e[-+]?\d+)?|true|false", re.IGNORECASE)  # which Hydra reads as the shell has it
DEFAULTS = {"per_device_train_batch_size": "8", "learning_rate": "5e-5", "per_device_eval_batch_size": "8"}


def parse(words: Sequence[str]) -> dict[str, str]:
    """{flag: value}, "true" for one without a value. Errors: UserError for a flag that neither program knows."""
    given: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            name = name.replace("-", "_")
            if name not in KNOWN:
                close = difflib.get_close_matches(name, KNOWN, n=1)
                raise UserError(f"--{name}: not known{f'; did you mean --{close[0]}?' if close else ''}")
            given[name] = value or "true"
        elif name and given[name] == "true":
            given[name] = word
            name = ""
    return given


def translate(given: dict[str, str]) -> tuple[list[str], list[str]]:
    """Overrides of train.py, and notes about the rest."""
    if "model_name_or_path" not in given:
        raise UserError("--model_name_or_path: not given; name the model")
    flags = {**DEFAULTS, **given}
    devices = int(flags.get("nproc_per_node", "1"))
    batch = int(flags["per_device_train_batch_size"]) * int(flags.get("gradient_accumulation_steps", "1")) * devices
    words = [*_stage(flags), "optimizer=adamw", "optimizer.weight_decay=0.0", f"data.batch_size={batch}"]
    words = [word for word in words if not (word.startswith("optimizer.w") and "weight_decay" in flags)]
    if devices > 1:
        words.append(f"trainer.devices={devices}")
    words += [f"trainer.precision={PRECISION[name]}" for name in PRECISION if flags.get(name) == "true"]
    if flags.get("overwrite_output_dir") == "true":
        words.append("resume=never")
    local = any(name in flags for name in ("train_file", "validation_file", "test_file"))
    words += ["data=local"] if local else []
    for name, key in KEYS.items():
        if name in flags and not (name == "dataset_name" and (local or flags[name] in ("squad", "rajpurkar/squad"))):
            value = VALUES.get(name, {}).get(flags[name], flags[name])
            value = value.removesuffix(".0") if name == "num_train_epochs" else value
            words.append(f"{key}={value if NUMBER.fullmatch(value) else quoted(value)}")
    notes = [f"--{name}: {WITHOUT[name]}" for name in flags if name in WITHOUT]
    if "max_train_samples" in flags:
        notes.append("--max_train_samples: data.limit is for every split")
    if "save_steps" in flags and float(flags["save_steps"]) < 1:
        notes.append("--save_steps: a share of all steps; checkpoint.every_n_steps takes their number")
    notes.append(
        "the batch is that of one step, whatever the number of devices; the loss leaves padding out of the softmax"
    )
    return words, notes


def _stage(flags: dict[str, str]) -> list[str]:
    if flags.get("do_train") == "true":
        return []
    if flags.get("do_predict") == "true":
        return ["stage=predict"]
    return ["stage=validate"] if flags.get("do_eval") == "true" else []
