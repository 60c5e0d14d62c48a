"""The language of a question: as the settings, its record or its file's name say, or recognised from the texts."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from langcodes import standardize_tag, tag_is_valid
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from qa.data.example import Example
from qa.data.reading.files import stem

log = logging.getLogger(__name__)

# codes for texts of an unknown language, of several or of none; what tables have where a cell is empty
NO_LANGUAGE = {"mis", "mul", "und", "zxx", "nan", "unk"}
# recognition: contexts of a file, characters of each, bytes of letters that tell a language, share that must agree
SAMPLE, LONGEST_READ, ENOUGH_BYTES, AGREEMENT = 50, 1000, 80, 0.9


def _checked(code: str) -> str:
    if not language_code(code):
        raise PydanticCustomError("language", "a code of ISO 639 such as de or gsw")
    return code


Language = Annotated[str, AfterValidator(_checked)]
Languages = Language | Mapping[str, Language]  # of all files, or of each by its stem


@lru_cache(1024)
def language_code(tag: str) -> str | None:
    """The shortest code of ISO 639 for a language: `de` of "deu", "ger" and "de-AT"; None for anything else."""
    code = standardize_tag(tag, macro=True).split("-")[0] if tag_is_valid(tag) else None
    return None if code in NO_LANGUAGE else code


def read_language(value: Any) -> str | None:
    """The code in a record's field: "de" of "de", "ger", "de-AT" and "German"; None for anything else."""
    if not isinstance(value, str) or not (name := value.strip().lower()):
        return None
    return language_code(name) or _code_of_name(name)


@lru_cache(1024)
def _code_of_name(name: str) -> str | None:
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE  # takes a while to import

    return language_code(TO_LANGUAGE_CODE.get(name, "und"))


def language_of(path: Path) -> str | None:
    """The language of the texts by a file's name, None without a code: `de` of `name.de.json`.

    Where texts and questions are in two languages it is the first of `name.de.en`, or of `context-de-question-en`, as
    MLQA calls its files.
    """
    for form in (r"\.([a-z]{2})\.([a-z]{2})$", r"context-([a-z]{2})-question-([a-z]{2})$", r"\.([a-z]{2})$"):
        if (match := re.search(form, stem(path).lower())) and all(map(language_code, match.groups())):
            return language_code(match[1])
    return None


def language_of_id(name: str) -> str | None:
    """The language in an id of TyDi QA, `fi` of `finnish-2387335860751143628-1`; None in any other id."""
    match = re.fullmatch(r"([a-z]{4,})-+\d+-\d+", name)
    return read_language(match[1]) if match else None


def with_languages(examples: Sequence[Example], path: Path, languages: Languages | None = None) -> list[Example]:
    """The examples of a file with their languages.

    `languages` wins over the field of a record, this over the file's name, and the name over what the texts say.
    """
    chosen = languages if isinstance(languages, str) else (languages or {}).get(stem(path))
    if chosen:
        return [example.model_copy(update={"language": language_code(chosen)}) for example in examples]
    if all(example.language for example in examples):
        return [*examples]
    code = language_of(path)
    if not code and (code := recognised_language([example.context for example in examples if not example.language])):
        log.info("%s: language %s, recognised from its texts; data.languages=… says it otherwise", path, code)
    return [e if e.language or not code else e.model_copy(update={"language": code}) for e in examples]


def recognised_language(texts: Sequence[str]) -> str | None:
    """The language of nearly all of a sample of the texts; None where most are too short, or where they do not agree.

    `texts`: of each question. They must agree as texts, and weighed by their questions.
    """
    counts = Counter(texts)
    distinct, step = list(counts), max(1, len(counts) / SAMPLE)
    sample = [distinct[int(row * step)] for row in range(min(SAMPLE, len(distinct)))]
    telling = [text for text in sample if _letters(text[:LONGEST_READ]) >= ENOUGH_BYTES]
    if len(telling) <= len(sample) / 2:
        return None
    from py3langid import classify  # takes a while to import

    try:
        codes = {text: classify(text[:LONGEST_READ])[0] for text in telling}
    except OSError as error:  # it unpacks its model into a temporary file
        log.info("no language is recognised: %s", error)
        return None
    code, agreeing = Counter(codes.values()).most_common(1)[0]
    questions = sum(counts[text] for text in telling if codes[text] == code)
    does_agree = agreeing >= AGREEMENT * len(telling) and questions >= AGREEMENT * sum(counts[t] for t in telling)
    return language_code(code) if does_agree else None


def _letters(text: str) -> int:
    return len("".join(filter(str.isalpha, text)).encode())
