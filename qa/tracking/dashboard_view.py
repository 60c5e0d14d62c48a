"""The W&B view for a reviewer, kept as code: runs, a sweep's jobs against each other, curves, answers."""

from typing import TYPE_CHECKING, Any

from qa.errors import UserError, first_line

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

SWEPT = ("optimizer.lr", "data.batch_size", "seed")
BEST = ("val/loss.min", "val/exact_match.max", "val/f1.max")  # over a run's evaluations
LOGGED = ("train/loss", "train/windows_per_second")
BY_EPOCH: dict[str, list[Any]] = {
    "validation loss": ["val/loss"],
    "EM and F1, percent": ["val/exact_match", "val/f1"],
    "training loss, mean of the epoch": ["train/epoch_loss"],
}
BY_STEP = {
    "learning rate": "train/learning_rate",
    "gradient norm": "train/gradient_norm",
    "windows per second": "train/windows_per_second",
    "peak memory, GiB": "train/memory_gib",
}


def workspace(entity: str, project: str) -> "Workspace":
    """The view of the figures that `qa.Wandb` logs."""
    from wandb_workspaces import expr
    from wandb_workspaces.reports.v2 import interface as panels
    from wandb_workspaces.workspaces import RunsetSettings, Section, Workspace

    axis = panels.ParallelCoordinatesPlotColumn
    axes = [axis(metric=panels.Config(name), log=name == "optimizer.lr") for name in SWEPT]
    axes += [axis(metric=panels.SummaryMetric(name)) for name in BEST]
    wide = panels.Layout(w=24, h=12)
    sections: dict[str, list[Any]] = {
        "Evaluations": [
            *(panels.LinePlot(title=title, x="epoch", y=[*names]) for title, names in BY_EPOCH.items()),
            panels.ParallelCoordinatesPlot(title="settings and figures", columns=axes),
        ],
        "Training": [
            panels.LinePlot(title="loss", y=["train/loss"], smoothing_factor=0.9, smoothing_type="exponential"),
            *(panels.LinePlot(title=title, y=[name]) for title, name in BY_STEP.items()),
        ],
        "Answers": [
            panels.WeavePanelSummaryTable(table_name="predictions", layout=wide),
            panels.WeavePanelSummaryTable(table_name="breakdown", layout=wide),
            panels.MediaBrowser(title="reliability", media_keys=["reliability"]),
        ],
    }
    best_first = expr.Ordering(expr.Summary(BEST[0]), ascending=True)
    return Workspace(
        entity=entity,
        project=project,
        name="Question answering",
        sections=[Section(name=name, is_open=True, panels=parts) for name, parts in sections.items()],
        runset_settings=RunsetSettings(order=[best_first], pinned_columns=columns()),
    )


def columns() -> list[str]:
    """The columns of the table of runs, as W&B spells them: the value of a setting's first name holds the others."""
    settings = [name.partition(".") for name in ("model.pretrained", *SWEPT, "trainer.max_epochs", "commit")]
    config = [f"config:{group}.value{dot}{rest}" for group, dot, rest in settings]
    return ["run:displayName", *(f"summary:{name}" for name in (*BEST, *LOGGED)), *config]


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
