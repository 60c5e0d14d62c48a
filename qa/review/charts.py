"""Charts of a run: curves by step and by epoch, and the calibration of its probabilities."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qa.runs.results import Row
from qa.statistics.trust import BINS, Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GREY, FIRST, SECOND = "#7d7d7d", "#2b7bba", "#d9730d"  # readable on white and on black
# distinct without seeing red and green, too (Okabe and Ito 2008), without black and yellow
DISTINCT = (FIRST, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", GREY)
STYLE: Any = {
    "svg.hashsalt": "qa",  # the same chart, the same bytes
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY),
}
OUTCOMES = {"f1": "F1, percent", "exact_match": "EM, percent", "val_loss": "validation loss"}
FEW_STEPS = 100  # with fewer, each step's loss is easy to see, and a mean over some of them hides the curve


Draw = Callable[[Any], None]  # draws into a matplotlib axes


def curves(losses: Sequence[tuple[int, float]], rows: Sequence[Row]) -> list[Draw]:
    """Draws EM, F1 and both losses by epoch, and the training loss by step; not what would be a single point.

    `losses`: (step, loss).
    """
    finite = [pair for pair in losses if math.isfinite(pair[1])]
    steps, values = [step for step, _ in finite], [loss for _, loss in finite]

    def by_step(axes: Any) -> None:
        axes.set(xlabel="step", title="training loss, mean over windows")
        if len(steps) < FEW_STEPS:
            axes.plot(steps, values, color=FIRST)
            axes.locator_params(axis="x", integer=True, nbins=10)
            return
        half = len(steps) // 40
        means = np.convolve(values, np.full(2 * half + 1, 1 / (2 * half + 1)), "valid")
        axes.plot(steps, values, color=FIRST, alpha=0.4, linewidth=0.6, label="each step")
        axes.plot(steps[half:-half], means, color=FIRST, label=f"mean of {2 * half + 1} steps")
        axes.legend(frameon=False, labelcolor=GREY)

    def lines(axes: Any, title: str, names: Mapping[str, str]) -> None:
        for (name, label), color in zip(names.items(), (FIRST, SECOND), strict=True):
            axes.plot([row.epoch for row in rows], [getattr(row, name) for row in rows], "o-", color=color, label=label)
        axes.set(xlabel="epoch", title=title)
        axes.legend(frameon=False, labelcolor=GREY)
        axes.locator_params(axis="x", integer=True, nbins=10)

    figures, both = {"exact_match": "EM", "f1": "F1"}, {"train_loss": "training", "val_loss": "validation"}
    epochs = [
        partial(lines, title="EM and F1, percent", names=figures),
        partial(lines, title="loss, mean over windows", names=both),
    ]
    return [*(epochs if len(rows) > 1 else []), *([by_step] if len(steps) > 1 else [])]


def by_epoch(histories: Mapping[str, Sequence[Row]], colors: Mapping[str, str]) -> list[Draw]:
    """Draws F1, EM and validation loss by epoch, a line for each name; its SVG group is `line-NAME`."""

    def panel(axes: Any, figure: str, title: str) -> None:
        for name, rows in histories.items():
            measured = [row for row in rows if getattr(row, figure) is not None]
            line = axes.plot([row.epoch for row in measured], [getattr(row, figure) for row in measured], "o-")
            line[0].set(color=colors[name], gid=f"line-{name}", markersize=3)
        axes.set(xlabel="epoch", title=title)
        axes.locator_params(axis="x", integer=True, nbins=10)

    return [partial(panel, figure=figure, title=title) for figure, title in OUTCOMES.items()]


def parallel(jobs: Mapping[str, Mapping[str, Any]], colors: Mapping[str, str]) -> "Figure":
    """Parallel coordinates: a line for each job through its settings and figures, an axis for each.

    Numbers are to scale, words in alphabetical order, the better end of a figure at the top. SVG groups: `line-NAME`
    for the line of a job, `label` for the background of a label.
    """
    names = list(next(iter(jobs.values())))
    figure, axes = _figure(1, width=max(6, 1.6 * len(names)))
    panel = axes[0]
    heights = {}
    for column, name in enumerate(names):
        heights[name], ticks = _scaled([job[name] for job in jobs.values()], falling=name == OUTCOMES["val_loss"])
        panel.axvline(column, color=GREY, linewidth=0.8)
        below = -1.0
        for height, text in sorted((height, text) for text, height in ticks):
            if height - below > 0.08:  # else they would cover each other
                words = panel.text(
                    column, height, text, fontsize=8, va="center", ha="center", color=GREY, parse_math=False
                )
                words.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.5})
                words.get_bbox_patch().set_gid("label")
                below = height
    for number, name in enumerate(jobs):
        line = panel.plot(range(len(names)), [heights[key][number] for key in names])
        line[0].set(color=colors[name], gid=f"line-{name}")
    panel.set_xticks(range(len(names)), names, parse_math=False)
    panel.set_yticks([])
    panel.set_xlim(-0.4, len(names) - 0.6)
    for spine in ("left", "bottom"):
        panel.spines[spine].set_visible(False)
    return figure


def colors(groups: Mapping[str, str]) -> dict[str, str]:
    """A colour for each name, the same for names of one group; `groups`: {name: group}."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    order = list(dict.fromkeys(groups.values()))
    if len(order) <= len(DISTINCT):
        shades = dict(zip(order, DISTINCT, strict=False))
    else:
        shades = {group: to_hex(colormaps["turbo"](0.05 + 0.9 * n / (len(order) - 1))) for n, group in enumerate(order)}
    return {name: shades[group] for name, group in groups.items()}


def _scaled(values: Sequence[Any], falling: bool) -> tuple[list[float], list[tuple[str, float]]]:
    """Heights in [0, 1] and labels of an axis; logarithmic where the numbers span a factor of ten or more.

    `falling`: the lowest number is at the top.
    """
    numbers = [value for value in values if isinstance(value, int | float)]
    if len(numbers) == len(values):
        low, high = min(numbers), max(numbers)
        form = np.log if low > 0 and high >= 10 * low else np.asarray
        span = float(form(high) - form(low)) or 1.0
        rising = [float(form(value) - form(low)) / span for value in numbers]
        heights = [1 - height for height in rising] if falling else rising
        return heights, sorted({(f"{value:.4g}", height) for value, height in zip(numbers, heights, strict=True)})
    words = sorted({str(value) for value in values})
    place = {word: number / max(len(words) - 1, 1) for number, word in enumerate(words)}
    return [place[str(value)] for value in values], list(place.items())


def reliability(curve: Calibration, coverage: NDArray[np.float64], risk: NDArray[np.float64]) -> list[Draw]:
    """Draws exact matches and questions by probability, and the share of right answers among the surest.

    `coverage`, `risk`: of the surest answers, see `risk_coverage`.
    """
    bins = np.minimum(np.floor(curve.probabilities * BINS), BINS - 1)

    def shares(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        axes.plot(curve.probabilities, curve.shares, "o-", color=FIRST)
        axes.set(xlabel="probability", title="share of exact matches", xlim=(0, 1), ylim=(-0.03, 1.03))

    def counts(axes: Any) -> None:
        axes.bar((bins + 0.5) / BINS, curve.counts, width=0.9 / BINS, color=FIRST)
        axes.set(xlabel="probability", title="questions", xlim=(0, 1))

    def surest(axes: Any) -> None:
        axes.plot(100 * coverage, 100 * (1 - risk), color=FIRST, drawstyle="steps-post")
        axes.set(xlabel="surest answers, percent", title="right among the surest, percent", ylim=(-3, 103))

    return [shares, counts, surest]


def together(panels: Sequence[Draw]) -> "Figure":
    """The panels side by side in one figure."""
    figure, axes = _figure(len(panels), width=3.4 * len(panels))
    for draw, panel in zip(panels, axes, strict=True):
        draw(panel)
    return figure


def apart(panels: Sequence[Draw]) -> str:
    """An `<svg>` element for each panel, so that a narrow page can stack them."""
    return "\n".join(as_svg(together([panel])) for panel in panels)


def _figure(count: int, width: float) -> tuple["Figure", list[Any]]:
    from matplotlib import rc_context  # slow to import, and only the end of a run needs it
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(width, 2.8), layout="constrained")
        return figure, list(np.atleast_1d(figure.subplots(1, count)))


def as_svg(figure: "Figure") -> str:
    """The figure as an `<svg>` element, without a background."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def as_png(figure: "Figure") -> bytes:
    """The figure as a picture, on white."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150, facecolor="white")
    return file.getvalue()
