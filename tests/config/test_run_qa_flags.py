"""What people who come from run_qa.py type, and what they get."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.configs import GROUPS, composed
from helpers.paths import ROOT
from qa.config.run_qa_flags import BATCH, KEYS, PRECISION, parse, translate
from qa.config.settings import check_settings
from qa.config.targets import check_values
from qa.errors import UserError
from qa.runs.identity import dotted

PUBLISHED = """torchrun --nproc_per_node 2 run_qa.py --model_name_or_path google-bert/bert-base-cased
 --dataset_name squad --do_train --do_eval --per_device_train_batch_size 12 --gradient_accumulation_steps=2
 --learning_rate 3e-5
 --num_train_epochs 2.0 --max_seq_length 384 --doc_stride 128 --output_dir /tmp/debug_squad/ --bf16"""


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
            "--model_name_or_path m --do_eval --validation_file 'a b.json' --lr_scheduler_type cosine"
            " --warmup_ratio 0.1 --metric_for_best_model eval_f1 --report_to none --weight_decay 0.01 --n_best_size 5",
            {
                "stage": "validate", "data.name": None, "data.validation_file": "a b.json", "scheduler.name": "cosine",
                "scheduler.warmup_ratio": 0.1, "checkpoint.monitor": "f1", "optimizer.weight_decay": 0.01,
                "data.batch_size": 8, "data.eval_batch_size": 8, "optimizer.lr": 5e-5, "decode.n_best": 5,
            },
        ),
    ],
)  # fmt: skip
def test_the_printed_command_means_the_same(command: str, expected: dict[str, Any], tmp_path: Path) -> None:
    overrides, _ = translate(parse(shlex.split(command)))
    _, config = composed(*(word for word in overrides if not word.startswith("hydra.")), tmp_path=tmp_path)
    check_settings(config)
    check_values({name: config[name] for name in GROUPS})
    found = dotted(config)
    assert {key: found[key] for key in expected} == expected


def test_nothing_is_dropped_in_silence() -> None:
    words, notes = translate(parse(["--model_name_or_path", "m", "--overwrite_cache", "--warmup_steps", "100"]))
    assert [note.partition(":")[0] for note in notes[:2]] == ["--overwrite_cache", "--warmup_steps"]
    assert not any("100" in word for word in words)
    for flags, complaint in (
        (["--learning_rat", "1"], "--learning_rat: not known; did you mean --learning_rate?"),
        (["--do_train"], "--model_name_or_path: not given"),
    ):
        with pytest.raises(UserError, match=complaint):
            translate(parse(flags))


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
    for flag in (*KEYS, *BATCH, *PRECISION):
        assert f"--{flag}`" in section, flag
    for key in KEYS.values():
        assert key in section or key.rpartition(".")[2] in section, key
