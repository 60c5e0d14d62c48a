"""The tables of a sweep: its jobs, its settings over their seeds, and the effects of settings with two values."""

from collections.abc import Mapping, Sequence

from qa.runs.results import Monitor
from qa.statistics.effects import main_effects
from qa.sweeps.rows import FORMATS, MEASURED, ROW_COLUMNS, SweepRow, is_finite, ranked

EFFECTS = "effect of each setting: mean of the second value less mean of the first (95% interval)"
Lines = list[list[str]]
Intervals = Mapping[str, Mapping[str, str]]  # by a setting's name, by figure


def tables(
    rows: Sequence[SweepRow], monitor: Monitor, intervals: Intervals | None = None
) -> list[tuple[str, list[str], Lines]]:
    """Title, head and lines of a sweep's tables: its jobs, and its settings and their effects where they say more."""
    parts, settings = [("", list(ROW_COLUMNS), [_texts(row) for row in rows])], ranked(rows, monitor)
    if intervals or any(len(setting.rows) > 1 or setting.others for setting in settings):
        title = "mean ± standard deviation over seeds" + (" (95% interval)" if intervals else "") + ", the best first"
        lines = []
        for setting in settings:
            bounds = (intervals or {}).get(setting.name, {})
            cells = (setting.shown(name) + (f" ({bounds[name]})" if name in bounds else "") for name in MEASURED)
            lines.append([setting.name, setting.part or setting.seeds, *cells])
        parts.append((title, ["setting", "seeds", *MEASURED], lines))
    if lines := effects(rows):
        parts.append((EFFECTS, ["setting", "values", *MEASURED], lines))
    return parts


def _texts(row: SweepRow) -> list[str]:
    values = [(getattr(row, name), FORMATS.get(name, "")) for name in ROW_COLUMNS]
    return ["" if value is None else format(value, form) for value, form in values]


def effects(rows: Sequence[SweepRow]) -> Lines:
    """The effects of the settings: name, values, and the difference in each of MEASURED with its 95% interval.

    Empty where a setting has other than two values, one seed makes all figures, the jobs are too few to tell effects
    apart and from chance, or some have no figures yet: then effects would be mixed up with those of pairs.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.settings if name != "seed"))
    rows = [row for row in rows if row.settings.keys() >= set(names)]  # an earlier start may have varied fewer
    values = {name: list(dict.fromkeys(row.settings[name] for row in rows)) for name in names}
    seeds = {row.settings.get("seed") for row in rows}
    measured = [row for row in rows if row.status == "finished" and all(is_finite(getattr(row, m)) for m in MEASURED)]
    is_whole = len(measured) == len(rows) > 0
    if len(names) < 2 or len(seeds) < 2 or not is_whole or any(len(pair) != 2 for pair in values.values()):
        return []
    levels = [[values[name].index(row.settings[name]) for name in names] for row in measured]
    lines = [[name, f"{values[name][0]} → {values[name][1]}"] for name in names]
    for figure in MEASURED:
        form = FORMATS[figure]
        differences = main_effects(levels, [getattr(row, figure) for row in measured])
        for line, (difference, low, high) in zip(lines, differences, strict=False):
            line.append(f"{difference:+z{form}} ({low:+z{form}} to {high:+z{form}})")
    return [line for line in lines if len(line) > 2]
