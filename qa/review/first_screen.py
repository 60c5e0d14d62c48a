"""The first screen of a run."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from qa.console import console
from qa.evaluation.ceiling import Ceiling
from qa.review.verdict import few_training
from qa.runs.results import EvaluatedPart
from qa.runs.results_table import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PlannedSplit:
    """The data of a split: the source in words, its questions, and their windows."""

    source: str
    questions: int
    unanswerable: int
    windows: int


@dataclass(frozen=True)
class RunPlan:
    """A run that is about to begin, in plain values; a text is empty where there is nothing to show."""

    model: str
    parameters: int
    trained_head: bool
    splits: Mapping[str, PlannedSplit]  # the last one is evaluated
    limit: int | None  # questions of each split
    evaluated: EvaluatedPart
    lengths: str  # of an evaluation that are not its model's own
    ceilings: Mapping[str, Ceiling]  # of splits with answers
    max_answer_length: int  # tokens
    epoch: str  # the windows of a training epoch
    steps: str  # of a fit
    padded_share: float | None  # of the tokens of an epoch
    disk: str
    device: str
    output: Path
    sends: str  # to W&B
    problems: Mapping[str, str]  # by the setting that causes them


def show_plan(plan: RunPlan) -> None:
    """Shows a run before it begins: model, data, windows, steps, device, precision, output folder."""
    head = "its trained span head is kept" if plan.trained_head else "a new span head"
    limit = f" (data.limit={plan.limit})" if plan.limit else ""
    note, longest = plan.evaluated.note(), plan.max_answer_length
    best = "; ".join(f"{split} EM {c.exact_match:.2f}, F1 {c.f1:.2f}" for split, c in plan.ceilings.items())
    rows: dict[str, str] = {"model": f"{plan.model}, {plan.parameters / 1e6:.1f} M parameters, {head}"}
    for name, split in plan.splits.items():
        without = f", {split.unanswerable:,} of them without an answer" if split.unanswerable else ""
        rows[name] = f"{split.source}: {counted(split.questions, 'question')}{limit}{without}"
        rows[name] += f", {counted(split.windows, 'window')}"
        if note and name != "train":
            rows[name] += f"; {note[0].lower()}{note[1:].rstrip('.')}"
    rows |= {
        "lengths": plan.lengths,
        "ceiling": best and f"{best} at most, with answers of up to {longest} tokens",
        "epoch": plan.epoch,
        "steps": plan.steps,
        "disk": plan.disk,
        "device": plan.device,
        "output": str(plan.output),
        "W&B": plan.sends,
    }
    for title, text in rows.items():
        if text:
            console.print(Text.assemble((f"{title:<12}", "bold"), text))
    if plan.steps and not plan.trained_head and (advice := few_training(plan.splits["train"].questions)):
        console.print(advice)
    short = {split: ceiling.warning(longest) for split, ceiling in plan.ceilings.items()}
    for subject, problem in {**short, **plan.problems}.items():
        if problem:
            log.warning("%s: %s", subject, problem)
