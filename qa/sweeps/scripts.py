"""Shell scripts in a sweep's folder that run its best settings again."""

import itertools
import re
import shlex
from collections.abc import Sequence
from typing import Any

from qa.config.command_line import quoted
from qa.sweeps.rows import Setting, SweepRow

SEEDS_FOLDER = "new-seeds"  # in a sweep's folder: the runs of `new-seeds.sh`


def arguments_of(setting: Setting, seeds: Sequence[Any]) -> list[str]:
    """The arguments of `train.py` for a setting with these seeds; without seeds as its first job ran."""
    left_out = re.compile(r"[+~]*(sweep|seed)\b" if seeds else r"[+~]*sweep\b")
    again = [word for word in setting.rows[0].arguments if not left_out.match(word)]
    # no option after an override
    return ["-m", *again, f"seed={','.join(map(quoted, seeds))}"] if seeds else [*again, "hydra.mode=RUN"]


def best_script(best: Setting, title: str) -> str:
    """`best.sh`: a setting's command with all its seeds."""
    several = len(best.rows) > 1 and bool(best.seeds)  # a search may propose the same twice
    words = arguments_of(best, [row.settings["seed"] for row in best.rows] if several else [])
    mean, part = " as the mean over them" if several else "", f"; {best.part}" if best.part else ""
    comment = f"{best.name}{best.seeds and ', seed '}{best.seeds}: {title}{mean}{part}"
    return _script(comment, [f'exec {shlex.join(["python", "train.py", *words])} "$@"'])


def new_seeds_script(settings: Sequence[Setting], rows: Sequence[SweepRow], folder: str) -> str:
    """`new-seeds.sh`: each of the settings with three seeds that no job had, and their comparison."""
    used = {str(row.settings.get("seed", 42)) for row in rows}
    used |= {word.removeprefix("seed=") for row in rows for word in row.arguments if word.startswith("seed=")}
    seeds = list(itertools.islice((seed for seed in itertools.count(1) if str(seed) not in used), 3))
    folders = [f"{folder}/{SEEDS_FOLDER}/{number}" for number in range(len(settings))]
    commands = [
        shlex.join(["python", "train.py", *arguments_of(setting, seeds), f"hydra.sweep.dir={quoted(to)}"]) + ' "$@"'
        for setting, to in zip(settings, folders, strict=True)
    ]
    names = " and ".join(setting.name for setting in settings)
    return _script(f"{names} with seeds that did not choose them", [
        "set -e", *commands, f"exec {shlex.join(['python', '-m', 'qa.compare', *folders])}",
    ])  # fmt: skip


def _script(comment: str, lines: Sequence[str]) -> str:
    """A shell script; nothing in its settings can end the comment above its commands."""
    words = "".join(letter if letter.isprintable() else " " for letter in comment)
    return "\n".join(["#!/bin/sh", f"# {words}", *lines]) + "\n"
