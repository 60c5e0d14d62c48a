"""Compares systems: is one recipe better than another, or does chance explain the difference?"""

import itertools
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from qa.review.systems import Run, System
from qa.runs.results import METRICS, chosen_here, metric_of
from qa.runs.results_table import counted
from qa.statistics.breakdown import breakdown, kinds
from qa.statistics.intervals import (
    TOO_FEW,
    Clusters,
    bounds,
    clusters,
    difference,
    p_value,
    percent,
    proportion,
    spread,
)
from qa.statistics.significance import holm, sign_flips

ALL_PAIRS = 6  # systems; with more, the highest is compared with each of the others
LEFT_OUT = 0.2  # of a run's questions; where more are skipped, its figures are of another test set
REAL = 0.05  # corrected p below which a difference counts as more than chance


def primary_figure(systems: Sequence[System]) -> str:
    """The metric that decides: EM where all runs chose their best epoch by it, else F1."""
    metrics = {metric_of(run.settings.get("checkpoint.monitor", ""))[0] for system in systems for run in system.runs}
    return "exact_match" if metrics == {"exact_match"} else "f1"


def compare(systems: Sequence[System], baseline: System | None = None) -> dict[str, Any]:
    """Compares each system, the pairs, and the kinds of questions.

    One metric decides, see `primary_figure`; its p-values are corrected for the number of pairs. Without a baseline
    that is the number of all pairs, even where only some are shown, because the best was picked among all.
    """
    by, primary = clusters(systems[0].questions), primary_figure(systems)
    ranked = sorted(systems, key=lambda system: -float(system.scores[primary].mean()))
    every = len(systems) * (len(systems) - 1) // 2
    if baseline:
        pairs = [(system, baseline) for system in ranked if system is not baseline]
        rows, tested = _tested(pairs, primary, by, len(pairs)), f"each against the baseline, {baseline.name}"
        if baseline not in ranked[:2]:
            rows += _tested([(ranked[0], ranked[1])], primary, by, every)
            tested += f"; and the two highest against each other, corrected for all {every} pairs"
    elif len(systems) <= ALL_PAIRS:
        rows, tested = _tested(list(itertools.combinations(ranked, 2)), primary, by, every), "all pairs"
    else:
        rows = _tested([(ranked[0], system) for system in ranked[1:]], primary, by, every)
        tested = f"{ranked[0].name}, the highest, against each other system, corrected for all {every} pairs"
    named = {system.name: system for system in systems}
    return {
        "questions": len(systems[0].questions),
        "clusters": str(by),
        "primary": METRICS[primary],
        "systems": [summary(system, by) for system in systems],
        "notes": comparison_notes(systems, by),
        "pairs": rows,
        "tested": tested,
        "fixes": [_fixes(named[row["one"]], named[row["other"]]) for row in rows],
        "kinds": {
            name: {system.name: [part._asdict() for part in breakdown(system.questions, kind)] for system in systems}
            for name, kind in kinds(systems[0].questions).items()
        },
    }


def _tested(pairs: Sequence[tuple[System, System]], primary: str, by: Clusters, tests: int) -> list[dict[str, Any]]:
    """A row for each pair, its p-values corrected for `tests`.

    `recipe`: over seeds and questions, None where a system has one seed; `weights`: over questions alone;
    `secondary`: the other metric, without a test; `claim`: what may be said.
    """
    if not pairs:
        return []
    secondary = next(figure for figure in METRICS if figure != primary)
    apart = np.stack([one.scores[primary].mean(axis=0) - other.scores[primary].mean(axis=0) for one, other in pairs])
    flipped, floor = sign_flips(apart, by)
    rows: list[dict[str, Any]] = []
    for (one, other), p in zip(pairs, flipped, strict=True):
        recipe, weights = (_apart(one, other, primary, by, over_seeds) for over_seeds in (True, False))
        rows.append(
            {
                "one": one.name,
                "other": other.name,
                "figure": METRICS[primary],
                "difference": weights["difference"],
                "recipe": None if recipe["seeds_share"] is None else recipe,
                "weights": {**weights, "p": p, "p_least": floor},
                "secondary": {"figure": METRICS[secondary], **_apart(one, other, secondary, by, True)},
            }
        )
    for kind in ("recipe", "weights"):
        cells = [row[kind] for row in rows if row[kind] and row[kind]["p"] is not None]
        for cell, p in zip(cells, holm([cell["p"] for cell in cells], tests), strict=True):
            cell["p_corrected"] = p
    for (one, other), row in zip(pairs, rows, strict=True):
        row["claim"] = claim(one, other, row, by)
    return rows


def _apart(one: System, other: System, figure: str, by: Clusters, over_seeds: bool) -> dict[str, Any]:
    """The difference in percent with its interval, its p-value, and the share of seeds in its variance."""
    variation = spread([one.scores[figure], -other.scores[figure]], by, over_seeds)
    apart, low, high = percent(difference(variation, by))
    interval = {"difference": apart, "low": low, "high": high}
    return {**interval, "p": p_value(variation, by), "p_corrected": None, "seeds_share": variation.seeds_share}


def summary(system: System, by: Clusters) -> dict[str, Any]:
    """Mean and standard deviation over a system's seeds; of EM and F1 also the interval over questions and seeds."""
    row: dict[str, Any] = {"name": system.name, "seeds": [run.seed for run in system.runs if run.seed is not None]}
    row["left_out"] = {str(run.folder): len(run.questions) - len(system.questions) for run in system.runs}
    for figure, scores in system.scores.items():
        _, low, high = percent(proportion(scores, by))
        row[figure] = {**over_seeds((100 * scores.mean(axis=1)).tolist()), "low": low, "high": high}
    by_run = [[run.questions[question.id].loss for question in system.questions] for run in system.runs]
    means = [fmean(loss for loss in losses if loss is not None) for losses in by_run if None not in losses]
    row["question_loss"] = over_seeds(means)  # mean over questions of the mean over windows
    return row


def over_seeds(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation; None without a value, or without a second one."""
    return {"mean": fmean(values) if values else None, "std": stdev(values) if len(values) > 1 else None}


def comparison_notes(systems: Sequence[System], by: Clusters) -> list[str]:
    """The basis of the figures, a line each: questions, seeds, skipped questions, choices that were made on them."""
    count, runs = len(systems[0].questions), [run for system in systems for run in system.runs]
    lines = [f"{counted(count, 'question')} that all runs share, on {by}. ± is the standard deviation over seeds."]
    if len(by.sizes) < TOO_FEW:
        lines.append(f"{by}: too few for an interval, which takes {TOO_FEW}.")
    else:
        lines.append(f"95%: an interval for other {by.kind} and, of systems with several, other seeds.")
    if single := [system.name for system in systems if len(system.runs) == 1]:
        lines.append(f"One seed only, which may be a lucky one: {', '.join(single)}.")
        if len(systems) > 1:
            lines.append("To compare recipes, train each with at least two seeds.")
    less = {run.folder: len(run.questions) - count for run in runs if len(run.questions) > count}
    lines += [f"{folder}: {counted(number, 'further question')} skipped." for folder, number in less.items()]
    if any(len(run.questions) - count > LEFT_OUT * len(run.questions) for run in runs):
        lines.append(
            f"WARNING: more than {LEFT_OUT:.0%} of a run's questions are skipped; evaluate all runs on the same ones."
        )
    if any(run.is_cross_fitted for run in runs):
        lines.append(
            "Runs without a threshold for no answer, as fits are: answers at the threshold that is best for F1 on the"
            " other half of the contexts."
        )
    if memories := dict.fromkeys(run.results.memory for run in runs if run.results.memory):
        lines += memories
    elif any(map(_chosen_on_these, runs)):
        lines.append(chosen_here("epoch or system"))
    return lines


def _chosen_on_these(run: Run) -> bool:
    """Whether a run's questions chose its epoch: a fit's do, and an evaluation's on the fit's validation data."""
    return run.results.windows.train is not None or bool(run.results.chosen(run.folder))


def claim(one: System, other: System, row: dict[str, Any], by: Clusters) -> dict[str, str | None]:
    """The claim about two systems: {"better": the name of the better one, or None, "sentence": in words}.

    `row`: of `_tested`. Nothing is better without a test over seeds and questions, so nothing is with one seed. The
    number of questions needed is a guess: it supposes that the interval shrinks with the square root of their number
    and that the true difference is the one measured here.
    """
    recipe, figure, apart = row["recipe"], row["figure"], row["difference"]
    pair, measured = f"{one.name} and {other.name}", f"{apart:+.2f} {figure}"
    if recipe is None:
        single = [system.name for system in (one, other) if len(system.runs) == 1]
        seeds = "One seed each" if len(single) == 2 else f"One seed of {single[0]}"
        words = f"{one.name} against {other.name}: {measured} with these weights."
        return {"better": None, "sentence": f"{words} {seeds}: other seeds may give another order."}
    if recipe["low"] is None and len(by.sizes) >= TOO_FEW:
        alike = f"{one.name} against {other.name}: {measured} on each of the {by} alike"
        return {"better": None, "sentence": f"{alike}, so that chance cannot be estimated."}
    if recipe["low"] is None:
        return {"better": None, "sentence": f"{pair} cannot be told apart: {measured} on {by}, too few to tell."}
    low, high = recipe["low"], recipe["high"]
    over = "with other seeds and questions"
    if recipe["p_corrected"] < REAL:
        better, worse = (one.name, other.name) if apart > 0 else (other.name, one.name)
        by_how_much = f"{abs(apart):.2f} {figure}, more than chance explains"
        interval = bounds(low, high) if apart > 0 else bounds(-high, -low)
        return {"better": better, "sentence": f"{better} is better than {worse} by {by_how_much} ({interval} {over})."}
    half = (high - low) / 2
    if low > 0 or high < 0:
        remedy = "Among so many pairs chance gives such a difference."
    elif recipe["seeds_share"] > 0.5:
        remedy = "More seeds would help most."
    elif abs(apart) < half / 10:
        remedy = "The difference is next to nothing."
    else:
        needed = len(one.questions) * (half / abs(apart)) ** 2
        remedy = f"That would take about {float(f'{needed:.1g}'):,.0f} questions, or more seeds."
    words = f"{pair} cannot be told apart with these {counted(len(one.questions), 'question')} and these seeds"
    return {"better": None, "sentence": f"{words}: {measured} ({bounds(low, high)} {over}). {remedy}"}


def _fixes(one: System, other: System) -> dict[str, Any]:
    """Questions that more than half of one system's runs answer exactly and at most half of the other's."""
    right = [system.scores["exact_match"].mean(axis=0) > 0.5 for system in (one, other)]
    only = [
        [q.id for q, yes, no in zip(one.questions, mine, theirs, strict=True) if yes and not no]
        for mine, theirs in (right, right[::-1])
    ]
    return {"one": one.name, "other": other.name, "only_one": only[0], "only_other": only[1]}
