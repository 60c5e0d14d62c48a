"""Groups finished runs into systems: runs that differ only in their seed are one system."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qa.errors import UserError
from qa.evaluation.answers import Question, best_span, null_odds
from qa.evaluation.metrics import v2_scores
from qa.evaluation.question_table import read_questions
from qa.evaluation.thresholds import kept_threshold
from qa.runs.folder import RunFolder, held_identity
from qa.runs.identity import as_today
from qa.runs.predictions import WrittenAnswers, at_threshold
from qa.runs.results import METRICS, Results, read_results
from qa.runs.results_table import counted
from qa.statistics.calibration import in_first_half

EVALUATED = (  # settings that an evaluation chooses for itself, beside those of the training
    "decode.", "data.max_length", "data.stride", "data.limit", "data.split_seed", "data.validation_share",
    "model.attention", "trainer.precision", "trainer.limit",
)  # fmt: skip


class Run(NamedTuple):
    """The content of a run's folder."""

    folder: Path
    settings: dict[str, Any]  # and the hashes of its inputs: the same in all runs of a system
    seed: int | None  # of the training; None where it is unknown, as of a model of the hub
    weights: str  # of an evaluation: where in their training they were taken, or the hash of a checkpoint
    results: Results
    questions: dict[str, Question]
    is_cross_fitted: bool = False  # whether its answers are at other thresholds than the run's


class System(NamedTuple):
    """Runs that differ only in their seed.

    `questions`: those that all systems share, with means over the seeds. `scores`: EM and F1, float in [0, 1], each
    [seeds, questions].
    """

    name: str
    runs: list[Run]
    questions: list[Question]
    scores: dict[str, NDArray[np.float64]]


def read_run(folder: Path) -> Run:
    """Reads a finished run. Errors: UserError where there is none, or its answers cannot be scored."""
    results = read_results(folder)
    questions = {question.id: question for question in read_questions(folder) if question.exact_match is not None}
    if not questions:
        raise UserError(f"{folder}: its questions have no reference answers; compare runs of fit, validate or test")
    identity = held_identity(folder)
    assert identity is not None
    settings, inputs = as_today(identity["settings"]), dict(identity["inputs"])
    weights = "" if settings["stage"] == "fit" else "".join(inputs.pop("resume", []))
    trained = results.identity.get("trained", {})
    if "settings" in trained:  # evaluated on its own: a run of the recipe that trained it
        inputs.pop("model", None)  # RUN/model and best.ckpt are two files of the same weights
        step, cut = trained.get("step"), results.no_answer_threshold
        weights = f"step {step}, threshold {cut:.4g}" if cut else f"step {step}"
        evaluated = {f"evaluated {key}": value for key, value in settings.items() if key.startswith(EVALUATED)}
        settings = {**as_today(trained["settings"]), **evaluated}
        inputs = {**trained["inputs"], **{f"evaluated {role}": content for role, content in inputs.items()}}
    elif settings["stage"] != "fit":
        settings["seed"] = None  # an evaluation's decides nothing: with another one it is the same evaluation
    if changes := results.schedule_changes or trained.get("schedule_changes"):
        settings["schedule changes"] = changes
    seed = settings.pop("seed")
    del settings["stage"]
    inputs = {role: content[:1] if role == "model" else content for role, content in inputs.items()}  # uncalibrated
    settings |= {f"content of {role}": " ".join(content) for role, content in inputs.items()}
    return Run(folder, settings, seed, weights, results, questions)


def cross_fitted_run(run: Run) -> Run:
    """A run with answers at thresholds of its own where it is on SQuAD v2 and answered at threshold 0, as fits do.

    They are the best for F1 on the other half of the contexts. All other runs stay as they are.
    """
    if run.results.no_answer_threshold != 0 or not RunFolder(run.folder).candidates.exists():
        return run
    answers = WrittenAnswers(RunFolder(run.folder).candidates)
    answered = [(run.questions[name], answers[name]) for name in answers if name in run.questions]
    questions = [question for question, _ in answered]
    spans = [best_span(candidates) for _, candidates in answered]
    texts = zip(questions, spans, strict=True)
    table = np.array(
        [
            [v2_scores(span.text if span else "", q.answers)[1] for q, span in texts],
            [null_odds(candidates) for _, candidates in answered],
        ]
    )
    masks = np.array([[bool(q.answers) for q in questions], [span is not None for span in spans]])
    first, thresholds = in_first_half(questions), np.zeros(len(questions))
    for part in (first, ~first):
        if part.any() and not part.all():
            thresholds[part] = kept_threshold(*table[:, ~part], *masks[:, ~part])
    again = [at_threshold(*each, cut) for each, cut in zip(answered, thresholds.tolist(), strict=True)]
    return run._replace(questions={**run.questions, **{q.id: q for q in again}}, is_cross_fitted=True)


def systems(runs: Sequence[Run]) -> list[System]:
    """Groups the runs by their settings, over the questions that all runs share.

    Errors: UserError for runs that share no question, or where an id is not the same question in all.
    """
    shared = sorted(set.intersection(*(set(run.questions) for run in runs)))
    if not shared:
        raise UserError("the runs share no question; evaluate them on the same data")
    same = {"answers": "other reference answers", "question": "another question", "context": "another context"}
    for run, name, (field, problem) in itertools.product(runs[1:], shared, same.items()):
        if getattr(run.questions[name], field) != getattr(runs[0].questions[name], field):
            where = f"{runs[0].folder} and {run.folder}"
            raise UserError(f"{where}: {problem} for the id {name!r}; evaluate on the same data")
    groups = _groups(runs)
    names = _names(groups)
    return [_system(name, group, shared) for name, group in zip(names, groups, strict=True)]


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each system. Each of several checkpoints of one training is a system.

    Errors: UserError for a run that is given twice, such as by a copy of its folder.
    """
    by_settings: dict[str, list[Run]] = {}
    for run in runs:
        by_settings.setdefault(json.dumps(run.settings, sort_keys=True), []).append(run)
    groups = []
    for group in by_settings.values():
        seeds: dict[int | None, Run] = {}
        again = next(((seeds[run.seed], run) for run in group if seeds.setdefault(run.seed, run) is not run), None)
        if again is None:
            groups.append(group)
        elif len({run.weights for run in group}) == len(group):
            groups += [[run._replace(settings={**run.settings, "weights": run.weights})] for run in group]
        else:
            one, other = (str(run.folder) for run in again)
            seed = again[0].seed
            alike = "weights and data" if seed is None else f"settings, data and seed {seed}"
            raise UserError(f"{one} and {other}: the same {alike}; give one of them")
    return groups


def _names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Names each system by the settings in which the systems differ; by a folder where none or many differ."""
    runs = [group[0] for group in groups]
    keys = sorted({key for run in runs for key in run.settings})
    differing = [key for key in keys if len({json.dumps(run.settings.get(key)) for run in runs}) > 1]
    names = [" ".join(f"{key}={run.settings.get(key)}" for key in differing) for run in runs]
    if 0 < len(differing) <= 3:
        return names
    others = [f" and {counted(len(group) - 1, 'other seed')}" if len(group) > 1 else "" for group in groups]
    return [f"{run.folder}{more}" for run, more in zip(runs, others, strict=True)]


def _system(name: str, runs: list[Run], shared: Sequence[str]) -> System:
    values = {figure: [[getattr(run.questions[q], figure) for q in shared] for run in runs] for figure in METRICS}
    scores = {figure: np.array(rows) for figure, rows in values.items()}
    means = zip(shared, *(scores[figure].mean(axis=0).tolist() for figure in ("exact_match", "f1")), strict=True)
    questions = [runs[0].questions[q]._replace(exact_match=exact, f1=overlap) for q, exact, overlap in means]
    return System(name, runs, questions, scores)
