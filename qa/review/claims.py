"""The claims about systems that are compared, and the notes on their figures, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from qa.review.systems import System
from qa.runs.results import chosen_here
from qa.runs.results_table import counted
from qa.statistics.intervals import TOO_FEW, Clusters, bounds

LEFT_OUT = 0.2  # of a run's questions; where more are skipped, its figures are of another test set
REAL = 0.05  # corrected p below which a difference counts as more than chance


@dataclass(frozen=True)
class Difference:
    """The difference of two systems in percent, its interval and p-value, and the share of seeds in its variance."""

    figure: str
    difference: float
    low: float | None
    high: float | None
    p: float | None
    p_corrected: float | None
    seeds_share: float | None
    p_least: float | None = None  # that the test can give


@dataclass(frozen=True)
class Claim:
    """The claim about a pair: the name of the better system, None if nothing is known, and a sentence."""

    better: str | None
    sentence: str


def claim(one: System, other: System, weights: Difference, recipe: Difference | None, by: Clusters) -> Claim:
    """The claim about two systems.

    Nothing is better without a test over seeds and questions, so nothing is with one seed. The number of questions
    needed is a guess: it supposes that the interval shrinks with the square root of their number and that the true
    difference is the one measured here.
    """
    apart, measured = weights.difference, f"{weights.difference:+.2f} {weights.figure}"
    against, not_told = f"{one.name} against {other.name}", f"{one.name} and {other.name} cannot be told apart"
    if recipe is None:
        single = [system.name for system in (one, other) if len(system.runs) == 1]
        seeds = "One seed each" if len(single) == 2 else f"One seed of {single[0]}"
        return Claim(None, f"{against}: {measured} with these weights. {seeds}: other seeds may give another order.")
    low, high, p = recipe.low, recipe.high, recipe.p_corrected
    if low is None or high is None or p is None:
        if len(by.sizes) < TOO_FEW:
            return Claim(None, f"{not_told}: {measured} on {by}, too few to tell.")
        return Claim(None, f"{against}: {measured} on each of the {by} alike, so that chance cannot be estimated.")
    over = "with other seeds and questions"
    if p < REAL:
        better, worse = (one.name, other.name) if apart > 0 else (other.name, one.name)
        by_how_much = f"{abs(apart):.2f} {weights.figure}, more than chance explains"
        interval = bounds(low, high) if apart > 0 else bounds(-high, -low)
        return Claim(better, f"{better} is better than {worse} by {by_how_much} ({interval} {over}).")
    half, count = (high - low) / 2, len(one.questions)
    if low > 0 or high < 0:
        remedy = "Among so many pairs chance gives such a difference."
    elif (recipe.seeds_share or 0) > 0.5:
        remedy = "More seeds would help most."
    elif abs(apart) < half / 10:
        remedy = "The difference is next to nothing."
    else:
        needed = count * (half / abs(apart)) ** 2
        remedy = f"That would take about {float(f'{needed:.1g}'):,.0f} questions, or more seeds."
    words = f"{not_told} with these {counted(count, 'question')} and these seeds"
    return Claim(None, f"{words}: {measured} ({bounds(low, high)} {over}). {remedy}")


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
    elif any(run.results.windows.train is not None or run.results.chosen(run.folder) for run in runs):
        lines.append(chosen_here("epoch or system"))  # by a fit's questions, and by an evaluation's on the same data
    return lines
