"""The language of a file: by its name, or as the settings say."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from qa.data.files import plain_name
from qa.data.stems import stem

# The 183 codes of ISO 639-1, a word for each first letter: "ug uk" is "ugk". Three letters in a file's name are rather
# a word (dev, new, val, tok) than a code of ISO 639-3.
LETTERS = (
    "aabefkmnrsvyz baegimnors caehorsuvy daevz eelnostu fafijory gadlnuv haeiortuyz iadegikostu jav "
    "kagijklmnorsuvwy labginotuv mghiklnrsty nabdeglnorvy ocjmrs pailst qu rmnouw sacdegiklmnoqrstuvw "
    "taeghiklnorstwy ugkrz veio wao xh yio zahu"
)
CODES = {letters[0] + second for letters in LETTERS.split(" ") for second in letters[1:]}


def _checked(code: str) -> str:
    if code not in CODES and not re.fullmatch("[a-z]{3}", code):
        raise PydanticCustomError("language", "a code of ISO 639 such as de or deu")
    return code


Language = Annotated[str, AfterValidator(_checked)]
Languages = Language | Mapping[str, Language]  # of all files, or of each by its stem


def language_of(path: Path, languages: Languages | None = None) -> str | None:
    """The language that `languages` names for a file, else `de` of one called `name.de.json`; None without either."""
    setting = languages if isinstance(languages, str) else (languages or {}).get(stem(path))
    match = re.search(r"\.([a-z]{2})\.[a-z]+$", plain_name(path), re.IGNORECASE)
    code = match[1].lower() if match else ""
    return setting or (code if code in CODES else None)
