"""The promise about errors: how probable an answer must be, so that few enough of the answers given are wrong."""

import math
from collections.abc import Iterator, Sequence
from itertools import takewhile

import numpy as np

from qa.answering.options import Options
from qa.errors import UserError
from qa.evaluation.answers import Question
from qa.model.answering import Answering, ErrorBound
from qa.statistics.intervals import TOO_FEW, Clusters, clusters, spread

TWENTIETHS, FEWEST_TWENTIETHS = 20, 2  # of the errors of the surest 2/20, 3/20 … of the answers
MISTRUST = 0.05  # how often a promise may be broken
MOST_TIMES = 20  # times as many questions that are advised
SHOWN_ERRORS = (0.1, 0.2, 0.3)  # in the table of a calibration, and to choose from on the page of a service


def error_bounds(questions: Sequence[Question]) -> list[ErrorBound]:
    """Upper bounds, each of 95%, of the share of wrong answers, the surest answers first.

    A bound is that of Clopper and Pearson (1934) with the effective number of answers, as questions on one text are
    alike, and the t of the number of texts (Korn and Graubard 1998, "Confidence intervals for proportions with small
    expected number of positive counts"). Where all are right each text counts as one answer. There is none for answers
    on fewer than TOO_FEW texts.
    """
    from scipy.stats import beta, t  # slow to import, and only a calibration needs it

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
        if (texts := len(within.sizes)) < TOO_FEW:
            continue
        share, plain = float(wrong[:count].mean()), float(wrong[:count].var()) / count
        alike = spread([wrong[None, :count]], within).variance / plain if plain else count / texts
        number = count / max(1.0, alike) * float(t.ppf(0.975, count - 1) / t.ppf(0.975, texts - 1)) ** 2
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
        raise UserError(
            "max_error: nothing is promised for this model; `python -m qa.calibrate MODEL FILE` does it, with questions"
            f" on {TOO_FEW} texts or more, for float32 and the model's own lengths"
        )
    tested = _tested(bounds, max_error)
    if last := _last_promised(tested, max_error):
        return last.probability
    first = tested[0]
    seen = f"of its {first.answers} surest answers {first.wrong:.1%} were wrong, which leaves {first.wrong_at_most:.1%}"
    remedy = "nor would more questions like these help"
    if (room := max_error - first.wrong) > 0:  # the distance of a bound shrinks with the root of the number of answers
        times = max(2, math.ceil(((first.wrong_at_most - first.wrong) / room) ** 2))
        remedy = f"about {times} times as many questions may" if times <= MOST_TIMES else remedy
    raise UserError(f"max_error={max_error}: the calibration does not promise it: {seen} possible; {remedy}")


def _tested(bounds: Sequence[ErrorBound], max_error: float) -> Sequence[ErrorBound]:
    """The bounds without the first ones, of so few answers that hardly any outcome would promise `max_error`."""
    fewest = 2 * math.log(MISTRUST) / math.log(1 - max_error)
    return [bound for bound in bounds if bound.answers >= fewest] or bounds[-1:]


def _last_promised(tested: Sequence[ErrorBound], max_error: float) -> ErrorBound | None:
    promised = [*takewhile(lambda bound: bound.wrong_at_most <= max_error, tested)]
    return promised[-1] if promised else None


def with_promise(options: Options, answering: Answering, texts: Sequence[int] = ()) -> Options:
    """The options with the probability that an answer needs for `max_error`. `texts`: of each question.

    Errors: UserError where nothing is promised: over several texts, with options that choose other answers, and without
    the language where the model has several temperatures.
    """
    if options.max_error is None:
        return options
    if max(texts, default=1) > 1:
        raise UserError("max_error: is promised for questions over one text; give one, or leave it out")
    for name in ("max_answer_length", "handle_impossible_answer", "whole_words"):
        if getattr(options, name) != Options.model_fields[name].default:
            raise UserError(f"max_error: is promised for the model's usual answers; leave {name} out")
    if answering.temperature_by_language and None in options.languages(len(texts), answering):
        known = ", ".join(answering.temperature_by_language)
        raise UserError(f"max_error: is promised where the language is known; give language, one of {known}")
    least = least_probability(answering.error_bounds, options.max_error)
    return options.model_copy(update={"min_probability": max(options.min_probability, least)})


def shown_promises(bounds: Sequence[ErrorBound]) -> dict[float, ErrorBound | None]:
    """For each of SHOWN_ERRORS the bound that promises it, with the answers that it leaves; None where none does."""
    return {error: _last_promised(_tested(bounds, error), error) for error in SHOWN_ERRORS}


def promise_rows(bounds: Sequence[ErrorBound]) -> Iterator[list[str]]:
    """Headings and rows of a table: how many answers a promise leaves."""
    yield ["Wrong at most", "Answered", "Least probability"]
    for error, last in shown_promises(bounds).items():
        yield [f"{error:.0%}", *([f"{last.answered:.0%}", f"{last.probability:.2f}"] if last else ["none", "–"])]
