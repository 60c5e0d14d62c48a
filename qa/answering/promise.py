"""The promise about errors: how probable an answer must be, so that few enough of the answers given are wrong."""

from collections.abc import Iterator, Sequence
from itertools import takewhile

import numpy as np

from qa.answering.options import Options
from qa.errors import UserError
from qa.evaluation.answers import Question
from qa.model.answering import Answering, ErrorBound
from qa.statistics.intervals import Clusters, clusters, spread

TWENTIETHS, FEWEST_TWENTIETHS = 20, 2  # of the errors of the surest 2/20, 3/20 … of the answers
MISTRUST = 0.05  # how often a promise may be broken
SHOWN_ERRORS = (0.1, 0.2, 0.3)  # in the table of a calibration


def error_bounds(questions: Sequence[Question]) -> list[ErrorBound]:
    """Upper bounds, each of 95%, of the share of wrong answers, the surest answers first.

    A bound is that of Clopper and Pearson (1934) with the effective number of answers, as questions on one text are
    alike (Korn and Graubard 1998, "Confidence intervals for proportions with small expected number of positive
    counts").
    """
    from scipy.stats import beta  # slow to import, and only a calibration needs it

    answered = [q for q in questions if q.prediction and q.probability is not None and q.exact_match is not None]
    answered.sort(key=lambda question: -(question.probability or 0.0))
    by, bounds = clusters(answered), []
    probability = np.array([question.probability for question in answered], float)
    wrong = 1 - np.array([question.exact_match for question in answered], float)
    for step in range(FEWEST_TWENTIETHS, TWENTIETHS + 1):
        if not (surest := len(answered) * step // TWENTIETHS):
            continue
        count = int(np.count_nonzero(probability >= probability[surest - 1]))  # those of equal probability, too
        _, row = np.unique(by.row[:count], return_inverse=True)
        within = Clusters(by.kind, row, np.bincount(row))
        share, plain = float(wrong[:count].mean()), float(wrong[:count].var()) / count
        alike = spread([wrong[None, :count]], within).variance / plain if plain and len(within.sizes) > 1 else 1.0
        number = count / max(1.0, alike)
        most = 1.0 if share == 1 else beta.ppf(1 - MISTRUST, share * number + 1, (1 - share) * number)
        bounds.append(
            ErrorBound(
                probability=float(probability[surest - 1]), answers=count, answered=count / len(questions),
                wrong=share, wrong_at_most=float(most),
            )
        )  # fmt: skip
    return bounds


def least_probability(bounds: Sequence[ErrorBound], max_error: float) -> float:
    """The lowest probability from which at most `max_error` of the answers are wrong. Errors: UserError if none is.

    It is the last before a bound is above `max_error`: tested one by one in an order that does not depend on the
    outcomes, the bounds need no correction for their number (fixed-sequence testing, Angelopoulos et al. 2021, "Learn
    then test: calibrating predictive algorithms to achieve risk control").
    """
    if not bounds:
        raise UserError("max_error: the model is not calibrated for it; `python -m qa.calibrate MODEL FILE` does it")
    if last := _last_promised(bounds, max_error):
        return last.probability
    best = bounds[0]
    remedy = "its surest answers are wrong too often"
    if (room := max_error - best.wrong) > 0:  # the distance of a bound shrinks with the root of the number of answers
        times = ((best.wrong_at_most - best.wrong) / room) ** 2
        remedy = f"a calibration with about {times:.1f} times as many questions may promise it"
    raise UserError(f"max_error={max_error}: of its surest answers {best.wrong_at_most:.2f} may be wrong; {remedy}")


def _last_promised(bounds: Sequence[ErrorBound], max_error: float) -> ErrorBound | None:
    return next(reversed([*takewhile(lambda bound: bound.wrong_at_most <= max_error, bounds)]), None)


def with_promise(options: Options, answering: Answering, texts: Sequence[int]) -> Options:
    """The options with the probability that an answer needs for `max_error`. `texts`: of each question.

    Errors: UserError where nothing is promised: over several texts, and with options that choose other answers.
    """
    if options.max_error is None:
        return options
    if max(texts) > 1:
        raise UserError("max_error: is promised for questions over one text; give one, or leave it out")
    for name in ("max_answer_length", "handle_impossible_answer", "whole_words"):
        if getattr(options, name) != Options.model_fields[name].default:
            raise UserError(f"max_error: is promised for the model's usual answers; leave {name} out")
    least = least_probability(answering.error_bounds, options.max_error)
    return options.model_copy(update={"min_probability": max(options.min_probability, least)})


def promise_rows(bounds: Sequence[ErrorBound]) -> Iterator[list[str]]:
    """Headings and rows of a table: how many answers a promise leaves."""
    yield ["Wrong at most", "Answered", "Least probability"]
    for error in SHOWN_ERRORS:
        last = _last_promised(bounds, error)
        yield [f"{error:.0%}", *([f"{last.answered:.0%}", f"{last.probability:.2f}"] if last else ["none", "–"])]
