"""EM and F1 by kinds of questions."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from qa.evaluation.answers import Question, mean_scores

WORDS = re.compile(r"\b(how (?:many|much)|what|who|whom|whose|when|where|which|why|how)\b", re.IGNORECASE)

ANSWER_LENGTHS = ("no answer", "1 word", "2 words", "3–5 words", "6 words or more")
CONTEXT_LENGTHS = ("up to 500 characters", "up to 1,000 characters", "up to 2,000 characters", "more than 2,000")
ORDER = {name: row for names in (ANSWER_LENGTHS, CONTEXT_LENGTHS) for row, name in enumerate(names)}


class Part(NamedTuple):
    """The questions of one kind: EM and F1 in percent."""

    name: str
    questions: int
    exact_match: float
    f1: float
    contexts: int  # that these questions are on


def question_type(question: Question) -> str:
    """The first question word; "other" without one and where the question may not be English."""
    match = WORDS.search(question.question) if question.language in (None, "en") else None
    kind = match[1].lower() if match else "other"
    return {"whom": "who", "whose": "who", "how much": "how many"}.get(kind, kind)


def answer_length(question: Question) -> str:
    """The number of words of the first answer, as one of ANSWER_LENGTHS."""
    if question.is_unanswerable:
        return ANSWER_LENGTHS[0]
    words = len(question.answers[0].split()) if question.answers else 0
    return ANSWER_LENGTHS[1 if words <= 1 else 2 if words == 2 else 3 if words <= 5 else 4]


def context_length(question: Question) -> str:
    """The number of characters of the context, as one of CONTEXT_LENGTHS."""
    length = len(question.context)
    return CONTEXT_LENGTHS[0 if length <= 500 else 1 if length <= 1000 else 2 if length <= 2000 else 3]


def language(question: Question) -> str:
    """The question's language, or "unknown"."""
    return question.language or "unknown"


def answerable(question: Question) -> str:
    """The question as one with an answer, or one without."""
    return "unanswerable" if question.is_unanswerable else "answerable"


Kind = Callable[[Question], str]
KINDS: dict[str, Kind] = {
    "question type": question_type,
    "length of the answer": answer_length,
    "length of the context": context_length,
    "language": language,
}


def kinds(questions: Sequence[Question]) -> dict[str, Kind]:
    """The kinds by which these questions are told apart; that of SQuAD v2 comes first where some have no answer."""
    v2 = any(question.is_unanswerable for question in questions)
    return {"answerable": answerable, **KINDS} if v2 else KINDS


def breakdown(questions: Sequence[Question], kind: Kind) -> list[Part]:
    """The scored questions by kind: lengths in their order, all else the most frequent first."""
    groups: dict[str, list[Question]] = {}
    for question in questions:
        if question.exact_match is not None:
            groups.setdefault(kind(question), []).append(question)
    parts = [
        Part(name, len(group), *mean_scores(group), contexts=len({question.context for question in group}))
        for name, group in groups.items()
    ]
    return sorted(parts, key=lambda part: (ORDER.get(part.name, 0), -part.questions, part.name))
