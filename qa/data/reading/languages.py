"""The language of a question: as the settings, its record or its file's name say, or recognised from the texts."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from qa.data.example import Example
from qa.data.reading.file_names import stem
from qa.data.reading.files import plain_name

log = logging.getLogger(__name__)

# The 183 codes of ISO 639-1, a word for each first letter: "ug uk" is "ugk". Three letters in a file's name are rather
# a word (dev, new, val, tok) than a code of ISO 639-3.
LETTERS = (
    "aabefkmnrsvyz baegimnors caehorsuvy daevz eelnostu fafijory gadlnuv haeiortuyz iadegikostu jav "
    "kagijklmnorsuvwy labginotuv mghiklnrsty nabdeglnorvy ocjmrs pailst qu rmnouw sacdegiklmnoqrstuvw "
    "taeghiklnorstwy ugkrz veio wao xh yio zahu"
)
CODES = {letters[0] + second for letters in LETTERS.split(" ") for second in letters[1:]}
# codes for texts of an unknown language, of several or of none; what tables have where a cell is empty
NO_LANGUAGE = {"mis", "mul", "und", "zxx", "nan", "unk"}
# recognition: contexts of a file, characters of each, bytes of letters that tell a language, share that must agree
SAMPLE, LONGEST_READ, ENOUGH_BYTES, AGREEMENT = 50, 1000, 80, 0.9


def _checked(code: str) -> str:
    if code not in CODES and not re.fullmatch("[a-z]{3}", code):
        raise PydanticCustomError("language", "a code of ISO 639 such as de or deu")
    return code


Language = Annotated[str, AfterValidator(_checked)]
Languages = Language | Mapping[str, Language]  # of all files, or of each by its stem


def read_language(value: Any) -> str | None:
    """The code in a record's field: "de" of "de", "de-AT" and "German"; None for anything else."""
    return _code(value.strip().lower()) if isinstance(value, str) else None


@lru_cache(1024)
def _code(name: str) -> str | None:
    code = re.split("[-_]", name)[0]
    if code in CODES or (re.fullmatch("[a-z]{3}", code) and code not in NO_LANGUAGE):
        return code
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE  # takes a while to import

    return {**TO_LANGUAGE_CODE, "javanese": "jv"}.get(name)  # "jw" there, which ISO 639 withdrew


def language_of(path: Path) -> str | None:
    """`de` of a file called `name.de.json`; None without such a code."""
    match = re.search(r"\.([a-z]{2})\.[a-z]+$", plain_name(path), re.IGNORECASE)
    code = match[1].lower() if match else ""
    return code if code in CODES else None


def with_languages(examples: Sequence[Example], path: Path, languages: Languages | None = None) -> list[Example]:
    """The examples of a file with their languages.

    `languages` wins over the field of a record, this over the file's name, and the name over what the texts say.
    """
    chosen = languages if isinstance(languages, str) else (languages or {}).get(stem(path))
    if chosen:
        return [example.model_copy(update={"language": chosen}) for example in examples]
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
    return code if does_agree and code not in NO_LANGUAGE else None


def _letters(text: str) -> int:
    return len("".join(filter(str.isalpha, text)).encode())
