"""The rows of a sweep's tables: its jobs, and its settings, each over its seeds."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

from qa.runs.results import METRICS, Monitor, chosen_here, metric_of, monitor_in_words, sign

ROW_COLUMNS = ("job", "overrides", "status", "epoch", "val_loss", "exact_match", "f1", "minutes", "error")
FORMATS = {"epoch": ".1f", "val_loss": ".4f", "exact_match": ".2f", "f1": ".2f", "minutes": ".1f"}
BEST_KEYS = ("epoch", "val_loss", "exact_match", "f1")
MEASURED = BEST_KEYS[1:]


class SweepRow(BaseModel):
    """One job. The figures are of its best epoch; `status_code`: of its process."""

    model_config = ConfigDict(extra="allow")  # also the monitor's figure of a language
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
        return _words(self.settings)


class Setting(NamedTuple):
    """Jobs that differ in their seed alone."""

    settings: dict[str, Any]  # without the seed
    rows: list[SweepRow]  # the finished ones that have a figure
    others: list[SweepRow]  # that failed, were interrupted or pruned, or are not at their end

    @property
    def name(self) -> str:
        return _words(self.settings) or "one setting"

    @property
    def seeds(self) -> str:
        """The seeds of its jobs; empty where the sweep does not set them."""
        return ", ".join(str(row.settings["seed"]) for row in self.rows if "seed" in row.settings)

    @property
    def jobs(self) -> list[SweepRow]:
        return [*self.rows, *self.others]

    @property
    def part(self) -> str:
        """ "1 of 4 seeds", where some have no figure; the seeds that are left may be the lucky ones."""
        return f"{len(self.rows)} of {len(self.jobs)} seeds" if self.others else ""

    @property
    def warning(self) -> str:
        """A warning about the others; empty where a search cut off all of it on purpose, or no job is at its end."""
        ends = Counter("without a figure" if row.status == "finished" else row.status for row in self.others)
        if not self.others or (not self.rows and ends.keys() <= {"pruned", "started"}):
            return ""
        became = ", ".join(f"{count} {end}" for end, count in ends.items())
        rank = "it is ranked behind complete settings" if self.rows else "it has no rank"
        return f"WARNING: {self.name}: figures of {self.part} ({became}); {rank}."

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


def _has_figure(row: SweepRow, monitor: Monitor) -> bool:
    return row.status == "finished" and is_finite(getattr(row, monitor, None))


def ranked_jobs(rows: Sequence[SweepRow], monitor: Monitor) -> list[SweepRow]:
    """The finished jobs that have a figure, the best first."""
    measured = [row for row in rows if _has_figure(row, monitor)]
    return sorted(measured, key=lambda row: (sign(monitor) * getattr(row, monitor), row.job))


def warnings(rows: Sequence[SweepRow], monitor: Monitor) -> list[str]:
    """A line for each setting with a seed that has no figure."""
    return [setting.warning for setting in grouped(rows, monitor) if setting.warning]


def notes(rows: Sequence[SweepRow], monitor: Monitor) -> list[str]:
    """The notes below the tables, a line each; none before a job is finished."""
    settings = ranked(rows, monitor)
    if not settings:
        return []
    best = settings[0]
    mean = f", the mean of seeds {best.seeds}" if len(best.rows) > 1 and best.seeds else ""
    lines = warnings(rows, monitor)
    if best.settings:
        lines.append(f"Best by {monitor_in_words(monitor)}{mean}: {best.name}")
    judge: Monitor = "exact_match" if metric_of(monitor)[0] == "exact_match" else "f1"  # of `qa.compare`
    by_judge = ranked(rows, judge)
    if by_judge and by_judge[0].settings != best.settings:
        lines.append(f"By {METRICS[judge]}, by which qa.compare decides, it is {by_judge[0].name}.")
    if len(settings) > 1:
        if all(len(setting.rows) == 1 for setting in settings):
            lines.append("The figures are of one seed each: another seed may change the order.")
        lines.append(chosen_here("epoch and setting"))
    return lines


def grouped(rows: Sequence[SweepRow], monitor: Monitor) -> list[Setting]:
    """The settings in the order of their first jobs."""
    groups: dict[str, Setting] = {}
    for row in sorted(rows, key=lambda row: row.job):
        settings = {name: value for name, value in row.settings.items() if name != "seed"}
        # without one, it is the seed of the configuration
        alike = json.dumps([settings, "seed" in row.settings], sort_keys=True)
        setting = groups.setdefault(alike, Setting(settings, [], []))
        (setting.rows if _has_figure(row, monitor) else setting.others).append(row)
    return list(groups.values())


def ranked(rows: Sequence[SweepRow], monitor: Monitor) -> list[Setting]:
    """The settings that have a figure, the best first, by the mean over their seeds: a single lucky seed proves little.

    A setting with seeds that have none comes behind the others: the seeds that are left may be the lucky ones.
    """
    settings = [setting for setting in grouped(rows, monitor) if setting.rows]
    return sorted(settings, key=lambda s: (bool(s.others), sign(monitor) * (s.over_seeds(monitor)[0] or 0.0)))


def outcome(row: SweepRow) -> str:
    """The end of a job, in one line."""
    figures = [
        f"{name} {format(getattr(row, name), FORMATS[name])}" for name in BEST_KEYS if getattr(row, name) is not None
    ]
    return ", ".join([row.status, *figures])
