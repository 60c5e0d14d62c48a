"""Compares systems: is one recipe better than another, or does chance explain the difference?"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev

import numpy as np

from qa.review.claims import Claim, Difference, claim, comparison_notes
from qa.review.systems import System
from qa.runs.results import METRICS, metric_of
from qa.statistics.breakdown import Part, breakdown, kinds
from qa.statistics.intervals import Clusters, clusters, difference, p_value, percent, proportion, spread
from qa.statistics.significance import holm, sign_flips

ALL_PAIRS = 6  # systems; with more, the highest is compared with each of the others


@dataclass(frozen=True)
class SystemFigure:
    """A figure of a system: mean and standard deviation over seeds; of EM and F1 also an interval, in percent."""

    mean: float | None
    std: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SystemSummary:
    """A system's figures; `left_out`: the questions of each run's folder that not all runs share."""

    name: str
    seeds: list[int]
    left_out: dict[str, int]
    exact_match: SystemFigure
    f1: SystemFigure
    question_loss: SystemFigure  # mean over questions of the mean over windows


@dataclass(frozen=True)
class Pair:
    """Two systems, the first one minus the other."""

    one: str
    other: str
    figure: str
    difference: float
    recipe: Difference | None  # over seeds and questions; None where a system has one seed
    weights: Difference  # over questions alone
    secondary: Difference  # of the other metric, without a test
    claim: Claim


@dataclass(frozen=True)
class Fixes:
    """Ids of questions that more than half of one system's runs answer exactly and at most half of the other's."""

    one: str
    other: str
    only_one: list[str]
    only_other: list[str]


@dataclass(frozen=True)
class Comparison:
    """The comparison of systems: their figures, the pairs, and the kinds of questions."""

    questions: int
    clusters: str
    primary: str  # the metric that decides
    systems: list[SystemSummary]
    notes: list[str]
    pairs: list[Pair]
    tested: str  # which pairs, in words
    fixes: list[Fixes]
    kinds: dict[str, dict[str, list[Part]]]  # by kind of question, by system

    def as_json(self) -> str:
        rows = {kind: {s: [p._asdict() for p in parts] for s, parts in of.items()} for kind, of in self.kinds.items()}
        return json.dumps({**asdict(self), "kinds": rows}, ensure_ascii=False, indent=1)


def compare(systems: Sequence[System], baseline: System | None = None, warnings: Sequence[str] = ()) -> Comparison:
    """Compares each system, the pairs, and the kinds of questions; `warnings`: notes that come first.

    One metric decides: EM where all runs chose their best epoch by it, else F1. Its p-values are corrected for the
    number of pairs. Without a baseline that is the number of all pairs, even where only some are shown, because the
    best was picked among all.
    """
    metrics = {metric_of(run.settings.get("checkpoint.monitor", ""))[0] for system in systems for run in system.runs}
    by, primary = clusters(systems[0].questions), "exact_match" if metrics == {"exact_match"} else "f1"
    ranked = sorted(systems, key=lambda system: -float(system.scores[primary].mean()))
    every = len(systems) * (len(systems) - 1) // 2
    if baseline:
        tests = [(system, baseline) for system in ranked if system is not baseline]
        pairs, tested = _tested(tests, primary, by, len(tests)), f"each against the baseline, {baseline.name}"
        if baseline not in ranked[:2]:
            pairs += _tested([(ranked[0], ranked[1])], primary, by, every)
            tested += f"; and the two highest against each other, corrected for all {every} pairs"
    elif len(systems) <= ALL_PAIRS:
        pairs, tested = _tested(list(itertools.combinations(ranked, 2)), primary, by, every), "all pairs"
    else:
        pairs = _tested([(ranked[0], system) for system in ranked[1:]], primary, by, every)
        tested = f"{ranked[0].name}, the highest, against each other system, corrected for all {every} pairs"
    named = {system.name: system for system in systems}
    return Comparison(
        questions=len(systems[0].questions),
        clusters=str(by),
        primary=METRICS[primary],
        systems=[summary(system, by) for system in systems],
        notes=[*warnings, *comparison_notes(systems, by)],
        pairs=pairs,
        tested=tested,
        fixes=[_fixes(named[pair.one], named[pair.other]) for pair in pairs],
        kinds={
            name: {system.name: breakdown(system.questions, kind) for system in systems}
            for name, kind in kinds(systems[0].questions).items()
        },
    )


def _tested(systems: Sequence[tuple[System, System]], primary: str, by: Clusters, tests: int) -> list[Pair]:
    """The pairs with p-values that are corrected for `tests`."""
    if not systems:
        return []
    secondary = next(figure for figure in METRICS if figure != primary)
    apart = np.stack([one.scores[primary].mean(axis=0) - other.scores[primary].mean(axis=0) for one, other in systems])
    flipped, least = sign_flips(apart, by)
    weights = [
        replace(_difference(*pair, primary, by, over_seeds=False), p=p, p_corrected=corrected, p_least=least)
        for pair, p, corrected in zip(systems, flipped, holm(flipped, tests), strict=True)
    ]
    recipes = [_difference(*pair, primary, by, over_seeds=True) for pair in systems]
    recipes_p = {row: each.p for row, each in enumerate(recipes) if each.seeds_share is not None and each.p is not None}
    corrected_p = dict(zip(recipes_p, holm(list(recipes_p.values()), tests), strict=True))
    pairs = []
    for row, ((one, other), alone, seeds) in enumerate(zip(systems, weights, recipes, strict=True)):
        recipe = None if seeds.seeds_share is None else replace(seeds, p_corrected=corrected_p.get(row))
        also, words = _difference(one, other, secondary, by, over_seeds=True), claim(one, other, alone, recipe, by)
        pairs.append(Pair(one.name, other.name, METRICS[primary], alone.difference, recipe, alone, also, words))
    return pairs


def _difference(one: System, other: System, figure: str, by: Clusters, over_seeds: bool) -> Difference:
    variation = spread([one.scores[figure], -other.scores[figure]], by, over_seeds)
    p = p_value(variation, by)
    return Difference(METRICS[figure], *percent(difference(variation, by)), p, None, variation.seeds_share)


def summary(system: System, by: Clusters) -> SystemSummary:
    """The figures of a system over its seeds."""
    figures = {
        figure: over_seeds((100 * scores.mean(axis=1)).tolist(), *percent(proportion(scores, by))[1:])
        for figure, scores in system.scores.items()
    }
    by_run = [[run.questions[question.id].loss for question in system.questions] for run in system.runs]
    means = [fmean(loss for loss in losses if loss is not None) for losses in by_run if None not in losses]
    return SystemSummary(
        name=system.name,
        seeds=[run.seed for run in system.runs if run.seed is not None],
        left_out={str(run.folder): len(run.questions) - len(system.questions) for run in system.runs},
        **figures,
        question_loss=over_seeds(means),
    )


def over_seeds(values: Sequence[float], *interval: float | None) -> SystemFigure:
    """The figure of some values, one for each seed."""
    return SystemFigure(fmean(values) if values else None, stdev(values) if len(values) > 1 else None, *interval)


def _fixes(one: System, other: System) -> Fixes:
    right = [system.scores["exact_match"].mean(axis=0) > 0.5 for system in (one, other)]
    only_one, only_other = (
        [q.id for q, yes, no in zip(one.questions, mine, theirs, strict=True) if yes and not no]
        for mine, theirs in (right, right[::-1])
    )
    return Fixes(one.name, other.name, only_one, only_other)
