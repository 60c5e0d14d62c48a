"""What people who come from run_qa.py type, and what they get."""

import json
import random
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.configs import GROUPS, composed
from helpers.paths import ROOT
from qa.config.run_qa_command import translate
from qa.config.run_qa_flags import ALIASES, BATCH, CHOICES, KEYS, KIND, KNOWN, WHY
from qa.config.run_qa_parser import parse
from qa.config.settings import check_settings
from qa.config.targets import check_values
from qa.errors import UserError
from qa.runs.identity import dotted

PUBLISHED = """torchrun --nproc_per_node 2 run_qa.py --model_name_or_path google-bert/bert-base-cased
 --dataset_name squad --do_train --do_eval --per_device_train_batch_size 12 --gradient_accumulation_steps=2
 --learning_rate 3e-5
 --num_train_epochs 2.0 --max_seq_length 384 --doc_stride 128 --output_dir /tmp/debug_squad/ --bf16"""
FIT = "--model_name_or_path m --dataset_name squad --do_train "
SOMETIMES = {"eval_strategy", "push_to_hub", "run_name", "save_total_limit", "warmup_steps"}  # settings in part
UNREAD = {"liger_kernel_config", "parallelism_config"}  # transformers reads no text for them
LOCAL = "--model_name_or_path m --train_file a.json --do_train "


@dataclass
class ModelArguments:
    """The flags of run_qa.py about the model."""

    model_name_or_path: str
    config_name: str | None = None
    tokenizer_name: str | None = None
    cache_dir: str | None = None
    model_revision: str = "main"
    token: str | None = None
    trust_remote_code: bool = False


@dataclass
class DataArguments:
    """The flags of run_qa.py about the data."""

    dataset_name: str | None = None
    dataset_config_name: str | None = None
    train_file: str | None = None
    validation_file: str | None = None
    test_file: str | None = None
    overwrite_cache: bool = False
    preprocessing_num_workers: int | None = None
    max_seq_length: int = 384
    pad_to_max_length: bool = True
    max_train_samples: int | None = None
    max_eval_samples: int | None = None
    max_predict_samples: int | None = None
    version_2_with_negative: bool = False
    null_score_diff_threshold: float = 0.0
    doc_stride: int = 128
    n_best_size: int = 20
    max_answer_length: int = 30


def checked(overrides: list[str], tmp_path: Path) -> dict[str, Any]:
    """{key: value} of a printed command, composed and checked as train.py does."""
    _, config = composed(*(word for word in overrides if not word.startswith("hydra.")), tmp_path=tmp_path)
    check_settings(config)
    check_values({name: config[name] for name in GROUPS})
    return dict(dotted(config))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            PUBLISHED,
            {
                "model.pretrained": "google-bert/bert-base-cased", "data.name": "rajpurkar/squad", "stage": "fit",
                "data.batch_size": 48, "trainer.devices": 2, "optimizer.lr": 3e-5, "trainer.max_epochs": 2,
                "trainer.precision": "bf16-mixed", "optimizer._target_": "torch.optim.AdamW",
                "optimizer.weight_decay": 0.0,
            },
        ),
        (
            f"accelerate launch --num_machines 2 --num_processes=8 --mixed_precision bf16 run_qa.py {FIT}",
            {"trainer.precision": "bf16-mixed", "data.batch_size": 32},
        ),
        (
            "--model_name_or_path m --do_eval --validation_file 'a b.json' --n_best_size 5 --learning_rate 3e-5",
            {
                "stage": "validate", "data.name": None, "data.validation_file": "a b.json", "decode.n_best": 5,
                "optimizer.lr": 3e-5,
            },
        ),
        (
            FIT + "--lr_scheduler_type cosine --warmup_ratio 0.1 --metric_for_best_model eval_f1 --report_to none"
            " --weight_decay 0.01 --do_eval no --adam_beta2 0.98 --tf32 false --data_seed 7 --full_determinism",
            {
                "stage": "fit", "scheduler.name": "cosine", "scheduler.warmup_ratio": 0.1, "checkpoint.monitor": "f1",
                "optimizer.weight_decay": 0.01, "optimizer.lr": 5e-5, "optimizer.betas": [0.9, 0.98],
                "data.batch_size": 8, "data.eval_batch_size": 8, "data.seed": 7, "matmul_precision": "highest",
                "trainer.deterministic": True, "trainer.max_epochs": 3,
            },
        ),
        (
            FIT + "--max_steps 300 --num-train-epochs=1 --warmup_steps 7 --eval_strategy steps --eval_steps 50",
            {
                "trainer.max_steps": 300, "trainer.max_epochs": -1, "scheduler.warmup_ratio": 7 / 300,
                "trainer.val_check_interval": 50, "trainer.check_val_every_n_epoch": None,
            },
        ),
        (
            LOCAL + "--save_steps 100 --save_total_limit 2 --model_revision abc --push_to_hub --hub_model_id me/new",
            {
                "checkpoint.every_n_steps": 100, "checkpoint.keep": 1, "model.pretrained": "m@abc",
                "push_to_hub": "me/new", "data.name": None, "data.validation_share": 0.1,
            },
        ),
    ],
)  # fmt: skip
def test_the_printed_command_means_the_same(command: str, expected: dict[str, Any], tmp_path: Path) -> None:
    overrides, _ = translate(parse(shlex.split(command)))
    values = checked(overrides, tmp_path)
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("--do_train True --do_eval --fp16 True", ["trainer.precision=16-mixed"]),
        ("--do_train T --bf16 --overwrite_output_dir 1", ["trainer.precision=bf16-mixed", "resume=never"]),
        ("--do_train=yes --fp16 false --bf16 0 --overwrite_output_dir F", []),
        ("--do_train False --do_eval True", ["stage=validate"]),
        ("--do_eval --do_train 0 --do_predict n", ["stage=validate"]),
        ("--do_predict True", ["stage=predict"]),
        ("run_qa.py --do-train", []),
    ],
)  # fmt: skip
def test_switches_are_read_as_run_qa_reads_them(command: str, words: list[str]) -> None:
    script, *rest = command.split(" ", 1) if command.startswith("run") else ("", command)
    overrides, _ = translate(parse([*script.split(), *rest[0].split(), *FIT.split()[:4]]))
    decided = [word for word in overrides if word.startswith(("stage", "trainer.precision", "resume"))]
    assert decided == words


def test_every_flag_is_a_setting_or_a_note() -> None:
    command = LOCAL + "--overwrite_cache --warmup_steps 100 --lr_scheduler_type polynomial --optim sgd --do_predict"
    overrides, notes = translate(parse([*command.split(), "--test_file", "t e.json", "--no_dataloader_pin_memory"]))
    lines = {note.partition(":")[0]: note for note in notes}
    assert set(lines) >= {"--overwrite_cache", "--warmup_steps", "--optim", "--dataloader_pin_memory"}
    assert "scheduler=linear, scheduler=cosine" in lines["--lr_scheduler_type"]
    assert "stage=predict data=local 'data.test_file=\"t e.json\"' model.pretrained=RUN/model" in lines["--do_predict"]
    assert not any("100" in word or "scheduler" in word for word in overrides)
    _, notes = translate(parse([*FIT.split(), "--push_to_hub", "--num_train_epochs", "2.5", "--train_file", "a.json"]))
    assert [note.partition(":")[0] for note in notes[:3]] == ["--push_to_hub", "--num_train_epochs", "--train_file"]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("--learningrate 1 --nonsense", "--learningrate: not known; did you mean --learning_rate?; --nonsense: not"),
        (
            "--do_train",
            "--model_name_or_path: not given; name the model; --train_file: not given, nor --dataset_name",
        ),
        (FIT + "--do_train false", "none of --do_train, --do_eval, --do_predict is on"),
        (FIT + "--max_seq_length 64", "--doc_stride: 128 is not below --max_seq_length, which is 64"),
        (FIT + "--seed 1.5", "--seed: should be a whole number, not 1.5"),
        (FIT + "--fp16 maybe", "--fp16: should be True or False, not maybe"),
        (FIT + "--fp16 --bf16 --n_best_size 0", "--fp16, --bf16: give one of them; --n_best_size=0: should be"),
        (FIT + "--seed 1 stray", "stray: not known"),
        ("python -m torch.distributed.run", "python: not understood; give the command with its run_qa.py"),
        ("absent.json", "absent.json: "),
    ],
)  # fmt: skip
def test_what_run_qa_would_refuse_is_named_at_once(command: str, complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        translate(parse(command.split()))
    assert str(caught.value).startswith(complaint)


def test_a_file_of_flags_is_read(tmp_path: Path) -> None:
    flags = {
        "model_name_or_path": "m", "train_file": "a b.json", "do_train": True, "fp16": False, "learning_rate": 3e-5,
        "max_steps": 10, "label_names": ["a", "b"], "lr_scheduler_kwargs": {"power": 2}, "run_name": None,
    }  # fmt: skip
    path = tmp_path / "args.json"
    path.write_text(json.dumps(flags, indent="\t"))
    read = parse(["run_qa.py", str(path)])
    assert read == {**{k: v for k, v in flags.items() if v is not None}, "lr_scheduler_kwargs": '{"power": 2}'}
    (tmp_path / "args.yaml").write_text("model_name_or_path: m\nlearning_rate: 3e-5\n")
    assert parse([str(tmp_path / "args.yaml")]) == {"model_name_or_path": "m", "learning_rate": 3e-5}


@pytest.mark.slow
def test_commands_are_read_as_the_parser_of_transformers_reads_them(tmp_path: Path) -> None:
    from transformers import HfArgumentParser, TrainingArguments

    parser = HfArgumentParser((ModelArguments, DataArguments, TrainingArguments))  # type: ignore[arg-type]
    actions = {action.option_strings[0][2:]: action for action in parser._actions if action.dest != "help"}
    assert {name for name in actions if not name.startswith("no_")} <= KNOWN
    assert {action.dest for name, action in actions.items() if name.startswith("no_")} == {
        name for name, kind in KIND.items() if kind == "on"
    }
    for number in range(200):
        rng = random.Random(number)
        names = rng.sample(sorted(set(actions) - UNREAD - {"model_name_or_path", "do_train"}), rng.randint(0, 25))
        words = [word for name in names for word in spelled(name, actions[name], rng)]
        words += [*FIT.split(), *rng.choice(([], ["True"], ["1"]))]
        theirs = vars(parser.parse_known_args(words)[0])
        flags = parse(words)
        told = {actions[name].dest for name in [*names, *FIT.replace("--", "").split()] if name in actions}
        assert set(flags) == told, shlex.join(words)
        for name, value in flags.items():
            assert as_theirs(value, theirs[name]) == theirs[name], (name, shlex.join(words))
        overrides, notes = translate({**flags, "bf16": False, "dataset_name": "squad"})
        noted = {note.partition(":")[0][2:] for note in notes}
        assert {*flags} & WHY.keys() - SOMETIMES <= noted
        if number % 10:
            continue
        values = checked(overrides, tmp_path)
        assert values["optimizer.lr"] == theirs["learning_rate"]
        assert values["data.batch_size"] == (
            theirs["per_device_train_batch_size"] * theirs["gradient_accumulation_steps"]
        )


def spelled(name: str, action: Any, rng: random.Random) -> Iterator[str]:
    """A flag with a value of its type, in one of the ways to write it."""
    flag = rng.choice(action.option_strings)
    if action.nargs == 0 or (action.nargs == "?" and rng.random() < 0.4):
        yield flag
        return
    reads = getattr(action.type, "__name__", "")
    if action.choices:
        value = rng.choice(sorted(action.choices))
    elif reads == "string_to_bool":
        value = rng.choice(("True", "true", "1", "yes", "F", "False", "0"))
    elif name == "debug":
        value = "underflow_overflow"
    elif reads == "int":
        value = str(rng.randint(129, 384) if name == "max_seq_length" else rng.randint(1, 128))
    elif reads == "float":
        value = rng.choice(("1e-05", "0.1", "3", "2.0", "0.25"))
    else:
        value = rng.choice(("a", "a b.json", "/tmp/x=y", "wandb", "c'd"))
    yield from [f"{flag}={value}"] if rng.random() < 0.5 else [flag, value]


def as_theirs(value: Any, theirs: Any) -> Any:
    """What is only noted is kept as text: read as the parser of transformers has it."""
    if isinstance(theirs, bool) and isinstance(value, str):
        return value.lower() in ("true", "1", "yes")
    return type(theirs)(value) if isinstance(value, str) and not isinstance(theirs, list | dict) else value


@pytest.mark.slow
def test_the_command_line() -> None:
    command = [sys.executable, "-m", "qa.from_run_qa"]
    done = subprocess.run([*command, *shlex.split(PUBLISHED)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("python train.py \\\n    optimizer=adamw")
    done = subprocess.run([*command, "--nonsense"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "ERROR: --nonsense: not known\n")


def test_the_docs_have_every_flag() -> None:
    section = (ROOT / "docs" / "from-run-qa.md").read_text(encoding="utf-8")
    for flag in (*KEYS, *BATCH, *CHOICES):
        assert f"--{flag}`" in section, flag
    for key in KEYS.values():
        assert key in section or key.rpartition(".")[2] in section, key
    assert set(ALIASES.values()) <= KNOWN
