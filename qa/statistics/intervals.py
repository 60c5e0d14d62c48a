"""Confidence intervals of a mean over questions, or of the difference of two, over questions and seeds."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from qa.evaluation.answers import Question

TOO_FEW = 10  # clusters; with fewer an interval covers the truth too rarely, so none is given
LEVEL = 0.95
FILE_OF_ID = re.compile(r"^(?!\d+\.\d+/)[^/]*/")  # as `read_examples` names it; not a paragraph's numbers
NO_SPREAD = 1e-12  # a variance below is that of rounding

Scores = NDArray[np.float64]


class Clusters(NamedTuple):
    """Groups of questions that are not independent; `row`: int [questions], the cluster of each."""

    kind: str
    row: NDArray[np.intp]
    sizes: NDArray[np.intp]  # questions of each cluster

    def __str__(self) -> str:
        return f"{len(self.sizes):,} {self.kind}" if len(self.sizes) > 1 else f"1 {self.kind[:-1]}"


class Spread(NamedTuple):
    """A mean, its sampling variance, and the degrees of freedom of that variance.

    `seeds_share`: the share of the variance that comes from seeds, in [0, 1]; None where only questions vary.
    """

    mean: float
    variance: float
    freedom: float
    seeds_share: float | None = None


class ConfidenceInterval(NamedTuple):
    """A mean with its 95% interval; the bounds are None where there are too few clusters or no variance."""

    mean: float
    low: float | None
    high: float | None


def clusters(questions: Sequence[Question]) -> Clusters:
    """The articles where every question has a title, else the paragraphs.

    SQuAD was sampled by article, and questions on one article are alike. Titles are ignored where all questions have
    the same one, or where there are more titles than paragraphs. Translations of each other are one.
    """
    names = ([getattr(q, name) for q in questions] for name in ("context", "title"))
    paragraphs, articles = (_translated(_numbered(column), questions) for column in names)
    titled = all(question.title for question in questions)
    if titled and 1 < len(articles.sizes) <= len(paragraphs.sizes):
        return articles._replace(kind="articles")
    return paragraphs._replace(kind="paragraphs")


def _numbered(names: Sequence[str | None]) -> Clusters:
    rows: dict[str | None, int] = {}
    row = np.array([rows.setdefault(name, len(rows)) for name in names], np.intp)
    return Clusters("", row, np.bincount(row, minlength=1))


def _translated(by: Clusters, questions: Sequence[Question]) -> Clusters:
    """Joins the clusters that share a question: one with an id that comes once in each of several languages.

    Ids that are mere numbers say nothing. They would join far more than the languages' versions of each cluster: then
    all stay as they are.
    """
    rows_by_id: dict[str, list[int]] = {}  # rows of questions
    for row, question in enumerate(questions):
        if question.language:
            rows_by_id.setdefault(FILE_OF_ID.sub("", question.id), []).append(row)
    shared = [rows for rows in rows_by_id.values() if 1 < len(rows) == len({questions[row].language for row in rows})]
    if not shared:
        return by
    one = by.row[[row for rows in shared for row in rows]]
    other = by.row[[rows[0] for rows in shared for _ in rows]]
    before, least = np.zeros(0, np.intp), np.arange(len(by.sizes))  # of each cluster's own and those it is joined to
    while not np.array_equal(before, least):
        before = least.copy()
        np.minimum.at(least, one, before[other])
        np.minimum.at(least, other, before[one])
    names, joined = np.unique(least[by.row], return_inverse=True)
    versions = len({question.language for question in questions})
    return by if 2 * len(names) * versions < len(by.sizes) else Clusters(by.kind, joined, np.bincount(joined))


def spread(terms: Sequence[Scores], by: Clusters, over_seeds: bool = True) -> Spread:
    """The spread of the sum of the terms' means; a term: scores [seeds, questions] of a system, negated to subtract.

    Over questions it is the linearised ratio of cluster sums (Cochran 1977, "Sampling Techniques", 6.3 and 9A.2) with
    G - 1 degrees of freedom. Where each system has two seeds or more, seeds count as sampled too: V = Vq + Vs - Vqs,
    as for two-way clustering (Cameron, Gelbach and Miller 2011, "Robust inference with multiway clustering"; Owen
    2007, "The pigeonhole bootstrap"), where Vqs is their interaction, which is part of both Vq and Vs. V is at
    least each of Vq and Vs. Its degrees of freedom are Satterthwaite's (1946) from Vq and each system's own
    variance over seeds, as in Welch's test: one recipe may vary less than another. Seeds are taken to be
    independent between systems.

    For a difference that is too many where few seeds are alike by luck. So there are at most 2(n - 1), n being the
    fewest seeds, as the way of clustering with the fewest clusters decides in Cameron, Gelbach and Miller; and n - 1
    where a system with fewer seeds than the other has most of V, which is the least that there can be (Mickey and Brown
    1966, "Bounds on the distribution functions of the Behrens-Fisher statistic").
    """
    count, total = len(by.sizes), int(by.sizes.sum())
    mean, pulls, of_seeds, of_both, loose = 0.0, np.zeros(count), 0.0, 0.0, 0.0
    own_variance: list[tuple[int, float]] = []  # of each system: its seeds, and the variance of its mean over them
    over_seeds = over_seeds and all(len(scores) > 1 for scores in terms)
    for scores in terms:
        sums = np.stack([np.bincount(by.row, of_one, minlength=count) for of_one in scores])  # (seeds, clusters)
        means = sums.sum(axis=1) / total  # (seeds,)
        pull = (sums - means[:, None] * by.sizes) * count / total  # (seeds, clusters): their mean is 0
        mean += float(means.mean())
        pulls += pull.mean(axis=0)
        if over_seeds:
            seeds = len(scores)
            of_system = float(means.var(ddof=1)) / seeds
            of_seeds, loose = of_seeds + of_system, loose + of_system**2 / (seeds - 1)
            own_variance.append((seeds, of_system))
            rest = float(((pull - pull.mean(axis=0)) ** 2).sum()) / ((seeds - 1) * max(count - 1, 1))
            of_both += rest / (seeds * count)
    of_questions = float((pulls**2).sum()) / (count * max(count - 1, 1))
    variance = max(of_questions + of_seeds - of_both, of_questions, of_seeds)
    if not over_seeds:
        return Spread(mean, of_questions, count - 1)
    if not variance:
        return Spread(mean, 0.0, count - 1, 0.0)
    freedom = variance**2 / (loose + of_questions**2 / max(count - 1, 1))
    (fewest, of_system), (most, _) = min(own_variance), max(own_variance)
    if len(terms) > 1:
        freedom = min(freedom, (fewest - 1) * (1 if fewest < most and of_system > variance / 2 else 2))
    return Spread(mean, variance, freedom, of_seeds / (of_seeds + of_questions))


def proportion(scores: Scores, by: Clusters, over_seeds: bool = True) -> ConfidenceInterval:
    """The mean of scores in [0, 1], shaped [seeds, questions], and its interval.

    Wilson's interval (1927) with t and the effective number of questions, those that would have this variance if they
    were independent. It stays within [0, 1] and keeps its coverage near the ends (Korn and Graubard 1998; Franco et
    al. 2019, "Comparative study of confidence intervals for proportions in complex sample surveys"); far from the
    ends it is mean ± t · deviation. Where all are right or all are wrong, nothing is known about how alike a
    cluster's questions are: each cluster then counts as one question.
    """
    estimate = spread([scores], by, over_seeds)
    mean, count = min(max(estimate.mean, 0.0), 1.0), len(by.sizes)
    if count < TOO_FEW:
        return ConfidenceInterval(mean, None, None)
    alone = mean * (1 - mean) / estimate.variance if estimate.variance >= NO_SPREAD else float(count)
    weight = float(stdtrit(estimate.freedom, (1 + LEVEL) / 2)) ** 2 / alone
    middle, half = mean + weight / 2, np.sqrt(weight * mean * (1 - mean) + weight**2 / 4)
    return ConfidenceInterval(mean, float(middle - half) / (1 + weight), float(middle + half) / (1 + weight))


def difference(estimate: Spread, by: Clusters) -> ConfidenceInterval:
    """A difference of two means of scores in [0, 1] with its interval, mean ± t · deviation, within [-1, 1]."""
    if len(by.sizes) < TOO_FEW or estimate.variance < NO_SPREAD:
        return ConfidenceInterval(estimate.mean, None, None)
    half = float(stdtrit(estimate.freedom, (1 + LEVEL) / 2)) * estimate.variance**0.5
    return ConfidenceInterval(estimate.mean, max(-1.0, estimate.mean - half), min(1.0, estimate.mean + half))


def p_value(estimate: Spread, by: Clusters) -> float | None:
    """Two-sided p-value of "no difference", by t; None where `difference` has no interval."""
    if len(by.sizes) < TOO_FEW or estimate.variance < NO_SPREAD:
        return None
    return float(2 * stdtr(estimate.freedom, -abs(estimate.mean) / estimate.variance**0.5))


def percent(interval: ConfidenceInterval) -> ConfidenceInterval:
    """The interval in percent."""
    low, high = (None if bound is None else 100 * bound for bound in interval[1:])
    return ConfidenceInterval(100 * interval.mean, low, high)


def bounds(low: float | None, high: float | None) -> str:
    """The bounds in words: "3.10 to 14.92", or "–" without an interval."""
    return "–" if low is None or high is None else f"{low:.2f} to {high:.2f}"
