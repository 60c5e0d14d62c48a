"""Finished runs as systems, and how far their differences are more than chance.

Runs that differ in their seed alone are one system. A question counts with its mean over a system's seeds.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.stats import binomtest, permutation_test

from qa import UserError
from qa.breakdown import KINDS, breakdown
from qa.intervals import interval
from qa.questions import Question, read_questions
from qa.report import Results
from qa.runs import held_identity

FIGURES = {"exact_match": "EM", "f1": "F1"}
DRAWS = 9999
EVALUATED = ("decode.", "data.max_length", "data.stride", "data.limit")  # an evaluation's own choice of these counts
ALL_PAIRS = 6  # systems; of more the first is compared with each other


class Run(NamedTuple):
    """What a run folder holds."""

    folder: Path
    settings: dict[str, Any]  # and the content of its inputs: what it shares with the runs of its system
    seed: int
    checkpoint: str  # the content of the one that was evaluated, if any
    results: Results
    questions: dict[str, Question]


class System(NamedTuple):
    """Runs that differ in their seed alone; `scores`: EM and F1 in [0, 1] of the shared questions, [questions] each."""

    name: str
    runs: list[Run]
    questions: list[Question]
    scores: dict[str, NDArray[np.float64]]


def read_run(folder: Path) -> Run:
    """Errors: UserError for a folder without a finished run whose answers can be scored."""
    try:
        results = Results.model_validate_json((folder / "results.json").read_bytes())
    except (OSError, ValidationError):
        raise UserError(f"{folder}: holds no finished run; give the folder that holds its results.json") from None
    questions = {question.id: question for question in read_questions(folder) if question.exact_match is not None}
    if not questions:
        raise UserError(f"{folder}: its questions have no reference answers; compare runs of fit, validate or test")
    made = held_identity(folder)
    assert made is not None
    checkpoint = "" if made["settings"]["stage"] == "fit" else "".join(made["inputs"].pop("resume", []))
    settings, inputs = dict(made["settings"]), dict(made["inputs"])
    if trained := results.identity.get("trained"):  # evaluated on its own: a run of the recipe that trained it
        own = {f"evaluated {key}": value for key, value in settings.items() if key.startswith(EVALUATED)}
        settings = {**trained["settings"], **own}
        inputs = {**trained["inputs"], **inputs}
    seed = settings.pop("seed")
    del settings["stage"]
    settings |= {f"content of {role}": " ".join(content) for role, content in inputs.items()}
    return Run(folder, settings, seed, checkpoint, results, questions)


def systems(runs: Sequence[Run]) -> list[System]:
    """The runs by what they have in common, over the questions that all share. Errors: UserError without such."""
    shared = sorted(set.intersection(*(set(run.questions) for run in runs)))
    if not shared:
        raise UserError("the runs share no question; evaluate them on the same data")
    for run, name in itertools.product(runs[1:], shared):
        if run.questions[name].answers != runs[0].questions[name].answers:
            where = f"{runs[0].folder} and {run.folder}"
            raise UserError(f"{where}: other reference answers for the question {name!r}; evaluate on the same data")
    groups = _groups(runs)
    names = _names([group[0] for group in groups])
    return [_system(name, group, shared) for name, group in zip(names, groups, strict=True)]


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each system. Several checkpoints of one training are systems of their own.

    Errors: UserError for a run that is given twice, such as by a copy of its folder.
    """
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(json.dumps(run.settings, sort_keys=True), []).append(run)
    groups = []
    for group in found.values():
        seeds: dict[int, Run] = {}
        again = next(((seeds[run.seed], run) for run in group if seeds.setdefault(run.seed, run) is not run), None)
        if again is None:
            groups.append(group)
        elif len({run.checkpoint for run in group}) == len(group):
            settings = [{**run.settings, "content of the checkpoint": run.checkpoint} for run in group]
            groups += [[run._replace(settings=own)] for run, own in zip(group, settings, strict=True)]
        else:
            one, other = (str(run.folder) for run in again)
            raise UserError(f"{one} and {other}: the same settings, data and seed {again[0].seed}; give one of them")
    return groups


def _names(runs: Sequence[Run]) -> list[str]:
    """Each run by the settings in which it differs from some other; by its folder where that says little."""
    keys = sorted({key for run in runs for key in run.settings})
    differing = [key for key in keys if len({json.dumps(run.settings.get(key)) for run in runs}) > 1]
    names = [" ".join(f"{key}={run.settings.get(key)}" for key in differing) for run in runs]
    return names if 0 < len(differing) <= 3 else [str(run.folder) for run in runs]


def _system(name: str, runs: list[Run], shared: Sequence[str]) -> System:
    values = {figure: [[getattr(run.questions[q], figure) for q in shared] for run in runs] for figure in FIGURES}
    scores = {figure: np.mean(rows, axis=0) for figure, rows in values.items()}
    means = zip(shared, scores["exact_match"].tolist(), scores["f1"].tolist(), strict=True)
    questions = [runs[0].questions[q]._replace(exact_match=exact, f1=overlap) for q, exact, overlap in means]
    return System(name, runs, questions, scores)


def compared(one: System, other: System, figure: str) -> dict[str, Any]:
    """The difference in percent with its interval, and the p-value of a paired permutation test over contexts.

    Under the null hypothesis it does not matter which system an answer comes from; all questions on one context are
    swapped together.
    """
    contexts = [question.context for question in one.questions]
    difference = one.scores[figure] - other.scores[figure]
    _, row = np.unique(np.asarray(contexts, dtype=object), return_inverse=True)
    pair = [np.bincount(row, system.scores[figure]) for system in (one, other)]
    p = 1.0
    if len(pair[0]) > 1:  # one context alone says nothing
        p = permutation_test(
            pair, lambda x, y, axis: (x - y).sum(axis), permutation_type="samples", vectorized=True,
            n_resamples=DRAWS, batch=500, rng=np.random.default_rng(42),
        ).pvalue  # fmt: skip
    low, high = interval(difference, contexts)
    return {"difference": 100 * float(difference.mean()), "low": 100 * low, "high": 100 * high, "p": float(p)}


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number (Holm 1979, "A simple sequentially rejective test procedure")."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, row in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, p_values[row] * (len(p_values) - rank)))
        corrected[row] = largest
    return corrected


def compare(found: Sequence[System]) -> dict[str, Any]:
    """All figures: of each system, of the pairs, and of the kinds of questions."""
    pairs = list(itertools.combinations(found, 2)) if len(found) <= ALL_PAIRS else [(found[0], s) for s in found[1:]]
    rows: list[dict[str, Any]] = []
    for (one, other), figure in itertools.product(pairs, FIGURES):
        rows.append({"one": one.name, "other": other.name, "figure": FIGURES[figure], **compared(one, other, figure)})
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = p
    return {
        "questions": len(found[0].questions),
        "systems": [summary(system) for system in found],
        "pairs": rows,
        "fixes": [_fixes(one, other) for one, other in pairs],
        "kinds": {
            name: {system.name: [part._asdict() for part in breakdown(system.questions, kind)] for system in found}
            for name, kind in KINDS.items()
        },
    }


def summary(system: System) -> dict[str, Any]:
    """Mean and spread over a system's seeds, EM and F1 with their intervals over questions."""
    contexts = [question.context for question in system.questions]
    row: dict[str, Any] = {"name": system.name, "seeds": [run.seed for run in system.runs]}
    row["left_out"] = {str(run.folder): len(run.questions) - len(system.questions) for run in system.runs}
    for figure in FIGURES:
        single = [100 * mean(getattr(run.questions[q.id], figure) for q in system.questions) for run in system.runs]
        low, high = (100 * bound for bound in interval(system.scores[figure], contexts))
        row[figure] = {**_over_seeds(single), "low": low, "high": high}
    losses = [run.results.best.val_loss for run in system.runs if run.results.best and run.results.best.val_loss]
    row["val_loss"] = _over_seeds(losses)
    return row


def _over_seeds(values: Sequence[float]) -> dict[str, float | None]:
    return {"mean": mean(values) if values else None, "std": stdev(values) if len(values) > 1 else None}


def _fixes(one: System, other: System) -> dict[str, Any]:
    """Questions that more than half of one system's runs answer exactly and at most half of the other's."""
    right = [system.scores["exact_match"] > 0.5 for system in (one, other)]
    only = [
        [q.id for q, yes, no in zip(one.questions, mine, theirs, strict=True) if yes and not no]
        for mine, theirs in (right, right[::-1])
    ]
    count = len(only[0]) + len(only[1])
    p = binomtest(len(only[0]), count).pvalue if count else 1.0
    return {"one": one.name, "other": other.name, "only_one": only[0], "only_other": only[1], "mcnemar_p": float(p)}
