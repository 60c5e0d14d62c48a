"""Charts of a run: what was logged by step and epoch, and how far its probabilities can be trusted."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qa.evaluation.calibration import BINS, Calibration
from qa.runs.metrics_csv import read_metrics
from qa.runs.results import Row
from qa.storage import atomic_write, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY, FIRST, SECOND = "#7d7d7d", "#2b7bba", "#d9730d"  # readable on white and on black
STYLE: Any = {
    "svg.hashsalt": "qa",  # the same chart, the same bytes
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
}
OUTCOMES = {"val_loss": "validation loss", "exact_match": "EM, percent", "f1": "F1, percent"}
SMOOTHED = 0.9  # of the average so far, in the loss by step


def curves(losses: Sequence[tuple[int, float]], rows: Sequence[Row]) -> "Figure":
    """Training loss by step, validation loss, EM and F1 by epoch. `losses`: of each step its number and loss."""
    figure, (left, middle, right) = _figure(3, width=10)
    steps, values = [step for step, _ in losses], [loss for _, loss in losses]
    left.plot(steps, values, color=FIRST, alpha=0.25, linewidth=0.6)
    left.plot(steps, _smooth(values), color=FIRST, label="training loss")
    left.set(xlabel="step", title="training loss, smoothed")
    epochs = [row.epoch for row in rows]
    for name, label, color in (("train_loss", "training", FIRST), ("val_loss", "validation", SECOND)):
        middle.plot(epochs, [getattr(row, name) for row in rows], "o-", color=color, label=label)
    for name, label, color in (("exact_match", "EM", FIRST), ("f1", "F1", SECOND)):
        right.plot(epochs, [getattr(row, name) for row in rows], "o-", color=color, label=label)
    middle.set(xlabel="epoch", title="loss")
    right.set(xlabel="epoch", title="EM and F1, percent")
    for axes in (middle, right):
        axes.legend(frameon=False, labelcolor=GREY)
        axes.locator_params(axis="x", integer=True, nbins=10)
    return figure


def by_epoch(histories: Mapping[str, Sequence[Row]]) -> "Figure":
    """Validation loss, EM and F1 by epoch, a line for each name; its SVG group is `line-NAME`."""
    figure, axes = _figure(3, width=10)
    for panel, (figure_name, title) in zip(axes, OUTCOMES.items(), strict=True):
        for number, (name, rows) in enumerate(histories.items()):
            known = [row for row in rows if getattr(row, figure_name) is not None]
            values = [getattr(row, figure_name) for row in known]
            line = panel.plot([row.epoch for row in known], values, "o-", color=_color(number, len(histories)))
            line[0].set(gid=f"line-{name}", alpha=0.7, markersize=3)
        panel.set(xlabel="epoch", title=title)
        panel.locator_params(axis="x", integer=True, nbins=10)
    return figure


def parallel(jobs: Mapping[str, Mapping[str, Any]]) -> "Figure":
    """A line for each job through its settings and figures: an axis each, numbers to scale, words in order.

    The SVG group of a job's line is `line-NAME`, as in `by_epoch`.
    """
    names = list(next(iter(jobs.values())))
    figure, axes = _figure(1, width=max(6, 1.6 * len(names)))
    panel = axes[0]
    heights = {}
    for column, name in enumerate(names):
        heights[name], ticks = _scaled([job[name] for job in jobs.values()])
        panel.axvline(column, color=GREY, linewidth=0.8)
        below = -1.0
        for height, text in sorted((height, text) for text, height in ticks):
            if height - below > 0.05:  # else they would cover each other
                panel.text(column + 0.03, height, text, fontsize=7, va="center", color=GREY, parse_math=False)
                below = height
    for number, name in enumerate(jobs):
        line = panel.plot(range(len(names)), [heights[key][number] for key in names])
        line[0].set(color=_color(number, len(jobs)), alpha=0.8, gid=f"line-{name}")
    panel.set_xticks(range(len(names)), names, parse_math=False)
    panel.set_yticks([])
    panel.set_xlim(-0.1, len(names) - 0.6)
    for spine in ("left", "bottom"):
        panel.spines[spine].set_visible(False)
    return figure


def _scaled(values: Sequence[Any]) -> tuple[list[float], list[tuple[str, float]]]:
    """Heights in [0, 1], and the texts beside an axis: numbers over a power of ten or more by their logarithm."""
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values):
        low, high = min(numbers), max(numbers)
        form = np.log if low > 0 and high >= 10 * low else np.asarray
        span = float(form(high) - form(low)) or 1.0
        heights = [float(form(value) - form(low)) / span for value in numbers]
        return heights, sorted({(f"{value:.4g}", height) for value, height in zip(numbers, heights, strict=True)})
    words = sorted({str(value) for value in values})
    place = {word: number / max(len(words) - 1, 1) for number, word in enumerate(words)}
    return [place[str(value)] for value in values], list(place.items())


def _color(number: int, count: int) -> Any:
    from matplotlib import colormaps

    return colormaps["viridis"](0.15 + 0.7 * number / max(count - 1, 1))


def _smooth(values: Sequence[float]) -> list[float]:
    """Exponential mean, without the pull of its first value."""
    smooth, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = SMOOTHED * mean + (1 - SMOOTHED) * value
        weight = SMOOTHED * weight + (1 - SMOOTHED)
        smooth.append(mean / weight)
    return smooth


def reliability(found: Calibration) -> "Figure":
    """Share of exact matches by the probability given to the answer, and how many questions each is of."""
    figure, (left, right) = _figure(2, width=7)
    left.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
    left.plot(found.probabilities, found.shares, "o-", color=FIRST)
    title = f"calibration error {found.error:.3f} (chance {found.chance:.3f})"
    left.set(xlabel="probability", ylabel="share of exact matches", title=title)
    bins = np.minimum(np.floor(found.probabilities * BINS), BINS - 1)
    right.bar((bins + 0.5) / BINS, found.counts, width=0.9 / BINS, color=FIRST)
    right.set(xlabel="probability", title="questions", xlim=(0, 1))
    return figure


def _figure(count: int, width: float) -> tuple["Figure", list[Any]]:
    from matplotlib import rc_context  # takes a while, and only the end of a run needs it
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(width, 2.8), layout="constrained")
        return figure, list(np.atleast_1d(figure.subplots(1, count)))


def as_svg(figure: "Figure") -> str:
    """An `<svg>` element, without a background."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def write_curves(folder: Path, rows: Sequence[Row]) -> str:
    """Writes `curves.png` and `curves.svg` of a fit's rows and its `metrics.csv`; returns the latter."""
    losses = [(step, row["loss"]) for step, row in read_metrics(folder / "metrics.csv") if "loss" in row]
    figure = curves(losses, rows)
    with atomic_write(folder / "curves.png", binary=True) as file:
        figure.savefig(file, format="png", dpi=150, facecolor="white")
    svg = as_svg(figure)
    write_text(folder / "curves.svg", svg)
    return svg
