"""Letters that were read in a wrong encoding, such as "cafÃ©": recognised and restored by ftfy."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

from qa.data.example import Example, ReferenceAnswer

COMMON_LEADS = {"Ã", "Â"}
LEAD, EXCERPT = 10, 30  # characters of a text, before the first letter that is garbled and in all

Steps = list[tuple[str, str]]  # of ftfy


class Garbled(NamedTuple):
    """A piece of a text with garbled letters, as it was and as it should be, and whether it is restored."""

    was: str
    now: str
    is_restored: bool


def restored_examples(examples: Sequence[Example]) -> list[Example]:
    """The examples with the letters of their texts restored, and the places of their answers moved.

    A text stays as it is where that is not sure, or where an answer begins or ends inside such a letter.
    """
    moved = {e.id: [_moved(answer, e.context) for answer in e.answers] for e in examples}
    torn = {example.context for example in examples if None in moved[example.id]}
    restored = []
    for example in examples:
        update: dict[str, Any] = {"question": _restored(example.question)[0]}
        update["title"] = example.title and _restored(example.title)[0]
        if example.context not in torn:
            update |= {"context": _restored(example.context)[0], "answers": tuple(moved[example.id])}
        is_same = all(getattr(example, name) == value for name, value in update.items())
        restored.append(example if is_same else example.model_copy(update=update))
    return restored


def garbled_texts(was: Example, now: Example) -> Iterator[Garbled]:
    """The first garbled piece of each text of an example. `now`: the same, restored."""
    for name in ("question", "context", "title"):
        old, new = getattr(was, name) or "", getattr(now, name) or ""
        best = new if new != old else _explained(old)[0]
        if best != old:
            begin = next(at for at in count() if old[at : at + 1] != best[at : at + 1])
            begin = max(begin - LEAD, 0)
            yield Garbled(old[begin : begin + EXCERPT], best[begin : begin + EXCERPT], new != old)


@lru_cache(1024)
def _explained(text: str) -> tuple[str, Steps]:
    """The text without garbled letters, and the steps to it."""
    from ftfy import fix_encoding_and_explain  # which answering does without

    best, steps = fix_encoding_and_explain(text)
    return best, [*(steps or [])]


def _restored(text: str) -> tuple[str, Steps]:
    """The same where it is sure: nothing is garbled any more, and the text would not be right as it is.

    It may be right where one pair of signs is all that looks garbled, as "Å³" of a volume, unless it begins as most
    letters do that were read as Latin-1; where a letter so restored is there already; where a space was a part of one.
    """
    from ftfy.badness import is_bad

    best, steps = _explained(text)
    is_spaced = all(best.count(space) == text.count(space) for space in " \xa0")
    new = Counter(best) - Counter(text)
    is_clear = len(text) - len(best) > 1 or not COMMON_LEADS.isdisjoint(text)
    is_sure = bool(new) and new.keys().isdisjoint(text) and is_clear and is_spaced and not is_bad(best)
    return (best, steps) if is_sure else (text, [])


def _moved(answer: ReferenceAnswer, context: str) -> ReferenceAnswer | None:
    """The answer in the restored context; None where it begins or ends inside a letter of it."""
    from ftfy import apply_plan

    text, start = answer
    restored, steps = _restored(context)
    if start is None:
        return answer
    try:
        before, through = (apply_plan(context[:edge], steps) for edge in (start, start + len(text)))
    except UnicodeError:
        return None
    is_there = restored.startswith(before) and restored.startswith(through)
    return ReferenceAnswer(restored[len(before) : len(through)], len(before)) if is_there else None
