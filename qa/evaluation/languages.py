"""EM and F1 by language: as SQuAD's official script has them, and by the language's own rules beside."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from pydantic import BaseModel

from qa.evaluation.answers import Question, by_language, mean_scores
from qa.evaluation.metrics import scores, v2_scores

Score = Callable[[str, Sequence[str], str], tuple[float, float]]


class LanguageFigures(BaseModel):
    """Figures in percent, official and, under `mlqa_`, by the language's rules (`qa.evaluation.mlqa`)."""

    exact_match: float
    f1: float
    mlqa_exact_match: float
    mlqa_f1: float
    questions: int


class LanguageGap(BaseModel):
    """The points that the other languages, on average, are behind that of the training data; official figures."""

    trained: str
    exact_match: float
    f1: float


def language_figures(questions: Iterable[Question]) -> dict[str, LanguageFigures]:
    """The figures of each known language of the scored questions, by code."""
    groups = by_language(questions)
    is_v2 = any(question.is_unanswerable for group in groups.values() for question in group)
    return {code: _figures(code, group, v2_scores if is_v2 else scores) for code, group in groups.items()}


def _figures(code: str, group: Sequence[Question], score: Score) -> LanguageFigures:
    exact, overlap = mean_scores(group)
    # where there is no answer, no rule of a language decides
    again = [(q.exact_match, q.f1) if q.is_unanswerable else score(q.prediction, q.answers, code) for q in group]
    mlqa_exact, mlqa_overlap = (100 * fmean(column) for column in zip(*again, strict=True))
    return LanguageFigures(
        exact_match=exact, f1=overlap, mlqa_exact_match=mlqa_exact, mlqa_f1=mlqa_overlap, questions=len(group)
    )


def mean_of_languages(figures: Iterable[LanguageFigures]) -> LanguageFigures:
    """The mean of the figures, in which each language counts the same; `questions` are those of all."""
    rows = [row.model_dump() for row in figures]
    means = {name: fmean(row[name] for row in rows) for name in rows[0]}
    return LanguageFigures(**{**means, "questions": sum(row["questions"] for row in rows)})


def gap_to(trained: str, figures: Mapping[str, LanguageFigures]) -> LanguageGap | None:
    """The gap to the language `trained`; None where it, or another one, was not evaluated."""
    others = [row for code, row in figures.items() if code != trained]
    if trained not in figures or not others:
        return None
    ahead, mean = figures[trained], mean_of_languages(others)
    return LanguageGap(trained=trained, exact_match=ahead.exact_match - mean.exact_match, f1=ahead.f1 - mean.f1)
