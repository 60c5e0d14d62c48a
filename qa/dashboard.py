"""The W&B view that a reviewer wants, kept as code: runs, a sweep's jobs against each other, curves, answers.

python -m qa.dashboard [--entity E] [--project P] [--json FILE]
"""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qa import UserError, first_line
from qa.account import why_offline
from qa.progress import console
from qa.report import write_text

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

SWEPT = ("optimizer.lr", "data.batch_size", "seed")
BEST = ("val/loss.min", "val/exact_match.max", "val/f1.max")  # over a run's evaluations
LOGGED = ("train/loss", "train/windows_per_second")


def workspace(entity: str, project: str) -> "Workspace":
    """The view; what it names is what `qa.loggers.Wandb` logs."""
    from wandb_workspaces import expr
    from wandb_workspaces.workspaces import RunsetSettings, Workspace

    best_first = expr.Ordering(expr.Summary(BEST[0]), ascending=True)
    return Workspace(
        entity=entity,
        project=project,
        name="Question answering",
        sections=[evaluations(), training(), answers()],
        runset_settings=RunsetSettings(order=[best_first], pinned_columns=columns()),
    )


def columns() -> list[str]:
    """Of the table of runs, as W&B spells them: a setting's first name has a value, which holds the others."""
    settings = [name.partition(".") for name in ("model.pretrained", *SWEPT, "trainer.max_epochs", "commit")]
    config = [f"config:{group}.value{dot}{rest}" for group, dot, rest in settings]
    return ["run:displayName", *(f"summary:{name}" for name in (*BEST, *LOGGED)), *config]


def evaluations() -> "Section":
    """Curves by epoch, and a sweep's settings beside what came of them."""
    from wandb_workspaces.reports.v2 import interface as panels
    from wandb_workspaces.workspaces import Section

    axes = [
        panels.ParallelCoordinatesPlotColumn(metric=panels.Config(name), log=name == "optimizer.lr") for name in SWEPT
    ] + [panels.ParallelCoordinatesPlotColumn(metric=panels.SummaryMetric(name)) for name in BEST]
    return Section(
        name="Evaluations",
        is_open=True,
        panels=[
            panels.LinePlot(title="validation loss", x="epoch", y=["val/loss"]),
            panels.LinePlot(title="EM and F1, percent", x="epoch", y=["val/exact_match", "val/f1"]),
            panels.LinePlot(title="training loss, mean of the epoch", x="epoch", y=["train/epoch_loss"]),
            panels.ParallelCoordinatesPlot(title="settings and figures", columns=axes),
        ],
    )


def training() -> "Section":
    """What was logged after each step."""
    from wandb_workspaces.reports.v2 import interface as panels
    from wandb_workspaces.workspaces import Section

    plots = {
        "learning rate": "train/learning_rate",
        "gradient norm": "train/gradient_norm",
        "windows per second": "train/windows_per_second",
        "peak memory, GiB": "train/memory_gib",
    }
    return Section(
        name="Training",
        is_open=True,
        panels=[
            panels.LinePlot(title="loss", y=["train/loss"], smoothing_factor=0.9, smoothing_type="exponential"),
            *(panels.LinePlot(title=title, y=[name]) for title, name in plots.items()),
        ],
    )


def answers() -> "Section":
    """What the end of a run leaves."""
    from wandb_workspaces.reports.v2 import interface as panels
    from wandb_workspaces.workspaces import Section

    wide = panels.Layout(w=24, h=12)
    tables = [panels.WeavePanelSummaryTable(table_name=name, layout=wide) for name in ("predictions", "breakdown")]
    return Section(
        name="Answers",
        is_open=True,
        panels=[*tables, panels.MediaBrowser(title="reliability", media_keys=["reliability"])],
    )


def save(view: "Workspace") -> str:
    """Saves the view as a new one; returns its address. Errors: UserError where W&B refuses."""
    import requests
    import wandb

    try:
        if not view.entity:
            view.entity = wandb.Api().default_entity or ""
        view.save()
    except (wandb.Error, requests.RequestException, ValueError) as error:
        raise UserError(
            f"{view.entity}/{view.project}: not saved ({first_line(error)}); mend --entity, --project"
        ) from None
    return str(view.url)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m qa.dashboard", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY", ""), help="user or team; yours if not given")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT", "bert-squad"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the specification of the view there too")
    arguments = parser.parse_args()
    missing = why_offline()
    if missing and not arguments.json:
        raise UserError(f"{missing}, or write the view by --json FILE")
    view = workspace(arguments.entity, arguments.project)
    if arguments.json:
        write_text(arguments.json, view._to_model().spec.model_dump_json(by_alias=True, exclude_none=True, indent=1))
        console.print(f"{arguments.json}: the view, as W&B keeps it")
    console.print(f"not saved: {missing}" if missing else save(view))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        sys.exit(2)
