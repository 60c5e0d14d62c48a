"""The rows of a sweep's tables: its jobs, and its settings, each over its seeds."""

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, field_validator
from pydantic_core import PydanticCustomError

from qa.config.command_line import quoted
from qa.runs.results import Monitor, sign

COLUMNS = ("job", "overrides", "status", "epoch", "val_loss", "exact_match", "f1", "minutes", "error")
FORMATS = {"epoch": ".1f", "val_loss": ".4f", "exact_match": ".2f", "f1": ".2f", "minutes": ".1f"}
BEST_KEYS = ("epoch", "val_loss", "exact_match", "f1")
MEASURED = BEST_KEYS[1:]


class SweepRow(BaseModel):
    """One job. The figures are those of its best epoch; `status_code`: of its process."""

    job: int
    settings: dict[str, Any]  # in which it differs from the other jobs
    folder: str  # relative to the sweep's
    arguments: list[str] = []  # of train.py, as Hydra reads them
    status: Literal["started", "finished", "pruned", "interrupted", "failed"] = "started"
    epoch: float | None = None
    val_loss: float | None = None
    exact_match: float | None = None
    f1: float | None = None
    minutes: float = 0.0  # over all starts
    error: str | None = None
    status_code: int = 0

    @field_validator("folder")
    @classmethod
    def _inside(cls, folder: str) -> str:
        if PurePath(folder).is_absolute() or ".." in PurePath(folder).parts:
            raise PydanticCustomError("outside", "is not inside of the sweep's folder")
        return folder

    @property
    def overrides(self) -> str:
        """The settings as text."""
        return _words(self.settings)


class Setting(NamedTuple):
    """Finished jobs that differ in their seed alone."""

    settings: dict[str, Any]  # without the seed
    rows: list[SweepRow]

    @property
    def name(self) -> str:
        """The settings as text."""
        return _words(self.settings) or "as it is"

    @property
    def seeds(self) -> str:
        """Those of its jobs; empty where the sweep does not set them."""
        return ", ".join(str(row.settings["seed"]) for row in self.rows if "seed" in row.settings)

    def over_seeds(self, name: str) -> tuple[float | None, float | None]:
        """Mean and standard deviation of a figure over its jobs; None where a job lacks it, or there is only one."""
        values = [value for row in self.rows if is_finite(value := getattr(row, name))]
        mean = fmean(values) if len(values) == len(self.rows) else None
        return mean, stdev(values) if mean is not None and len(values) > 1 else None

    def shown(self, name: str) -> str:
        """A figure as text: mean ± standard deviation."""
        mean, deviation = self.over_seeds(name)
        spread = "" if deviation is None else f" ± {deviation:{FORMATS[name]}}"
        return "" if mean is None else f"{mean:{FORMATS[name]}}{spread}"


def _words(settings: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())


def is_finite(value: float | None) -> bool:
    """Whether a figure was measured, and is a number."""
    return value is not None and math.isfinite(value)


def ranked_jobs(rows: Sequence[SweepRow], monitor: Monitor) -> list[SweepRow]:
    """The finished jobs that have a figure, the best first."""
    found = [row for row in rows if row.status == "finished" and is_finite(getattr(row, monitor))]
    return sorted(found, key=lambda row: (sign(monitor) * getattr(row, monitor), row.job))


def ranked(rows: Sequence[SweepRow], monitor: Monitor) -> list[Setting]:
    """The settings, the best first, by the mean over their seeds: a single lucky seed proves little."""
    groups: dict[str, Setting] = {}
    for row in sorted(ranked_jobs(rows, monitor), key=lambda row: row.job):
        own = {name: value for name, value in row.settings.items() if name != "seed"}
        alike = json.dumps(
            [own, "seed" in row.settings], sort_keys=True
        )  # without, it is the seed of the configuration
        groups.setdefault(alike, Setting(own, [])).rows.append(row)
    return sorted(groups.values(), key=lambda setting: sign(monitor) * (setting.over_seeds(monitor)[0] or 0.0))


Lines = list[list[str]]


def tables(rows: Sequence[SweepRow], settings: Sequence[Setting]) -> list[tuple[str, list[str], Lines]]:
    """Title, head and lines of a sweep's tables: its jobs and, if any has several seeds, its settings."""
    found = [("", list(COLUMNS), [_texts(row) for row in rows])]
    if any(len(setting.rows) > 1 for setting in settings):
        lines = [[setting.name, setting.seeds, *map(setting.shown, MEASURED)] for setting in settings]
        found.append(("mean ± standard deviation over seeds, the best first", ["setting", "seeds", *MEASURED], lines))
    return found


def _texts(row: SweepRow) -> list[str]:
    values = [(getattr(row, name), FORMATS.get(name, "")) for name in COLUMNS]
    return ["" if value is None else format(value, form) for value, form in values]


def outcome(row: SweepRow) -> str:
    """How a job ended, in one line."""
    figures = [
        f"{name} {format(getattr(row, name), FORMATS[name])}" for name in BEST_KEYS if getattr(row, name) is not None
    ]
    return ", ".join([row.status, *figures])


def script(best: Setting, what: str) -> str:
    """`best.sh`: a setting's command with all its seeds; nothing in its settings can end the comment above it."""
    several = len(best.rows) > 1
    left_out = re.compile(r"[+~]*(sweep|seed)\b" if several else r"[+~]*sweep\b")
    again = [word for word in best.rows[0].arguments if not left_out.match(word)]
    seeds = ",".join(quoted(row.settings["seed"]) for row in best.rows if several)
    words = ["-m", *again, f"seed={seeds}"] if several else [*again, "hydra.mode=RUN"]  # no option after an override
    comment = f"{best.name}{best.seeds and ', seed '}{best.seeds}: {what}{' as the mean over them' if several else ''}"
    line = "".join(letter if letter.isprintable() else " " for letter in comment)
    return f'#!/bin/sh\n# {line}\nexec {shlex.join(["python", "train.py", *words])} "$@"\n'
