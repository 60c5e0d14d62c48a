"""The W&B view for a reviewer, kept as code: runs, a sweep's jobs against each other, curves, answers."""

from typing import TYPE_CHECKING

from qa.errors import UserError, first_line

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

SWEPT = ("optimizer.lr", "data.batch_size", "seed")
BEST = ("val/loss.min", "val/exact_match.max", "val/f1.max")  # over a run's evaluations
LOGGED = ("train/loss", "train/windows_per_second")


def workspace(entity: str, project: str) -> "Workspace":
    """The view of the figures that `qa.Wandb` logs."""
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
    """The columns of the table of runs, as W&B spells them: the value of a setting's first name holds the others."""
    settings = [name.partition(".") for name in ("model.pretrained", *SWEPT, "trainer.max_epochs", "commit")]
    config = [f"config:{group}.value{dot}{rest}" for group, dot, rest in settings]
    return ["run:displayName", *(f"summary:{name}" for name in (*BEST, *LOGGED)), *config]


def evaluations() -> "Section":
    """Curves by epoch, and a sweep's settings beside their figures."""
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
    """The figures of each step."""
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
    """The tables and pictures of a run's end."""
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
            f"{view.entity}/{view.project}: not saved ({first_line(error)}); fix --entity or --project"
        ) from None
    return str(view.url)
