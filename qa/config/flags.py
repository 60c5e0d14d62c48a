"""The words after train.py that begin with dashes: settings, Hydra's flags, other programs' flags."""

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import yaml

from qa.config.run_qa_flags import KNOWN
from qa.config.settings import Settings
from qa.config.suggestions import own_files, suggestion
from qa.errors import UserError

OF_HYDRA = (
    "help hydra-help version cfg resolve package run multirun shell-completion config-path config-name config-dir"
    " experimental-rerun info"
)
# flags with the next word as their value, which has no = in it
VALUED = re.compile(r"--(cfg|pack|config|exp|info)[a-z-]*|-(c|p|cp|cn|cd|i)")
NULL_CHOICE = re.compile(r"^(data|model|optimizer|scheduler|trainer|callbacks|logger|sweep|experiment)=null$")
SEVERAL_CHOICES = re.compile(r"^(data|model|optimizer|scheduler|logger)=\[")
TOP_LEVEL = {*Settings.model_fields, "experiment"}


def plain_words(words: Sequence[str]) -> list[str]:
    """The words as Hydra takes them: `--optimizer.lr=1e-5`, as W&B's sweep agent writes it, loses its dashes.

    Flags come first, since Hydra takes none after a setting, and `logger=null` is `~logger`.
    Errors: UserError for a flag that Hydra does not have, for a saved run's folder as a configuration, and for several
    choices where one is taken.
    """
    plain = [_plain(word, after) if word.startswith("--") else word for word, after in pairwise([*words, ""])]
    _check_saved_run(plain)
    flags: list[str] = []
    settings: list[str] = []
    for before, word in pairwise(["", *plain]):
        is_value = bool(VALUED.fullmatch(before)) and "=" not in word
        (flags if word.startswith("-") or is_value else settings).append(word)
    if several := next(filter(SEVERAL_CHOICES.match, settings), None):
        raise UserError(f"{several}: a group with one choice; write it without [ ]")
    return [*flags, *(NULL_CHOICE.sub(r"~\1", word) for word in settings)]


def _plain(word: str, after: str) -> str:
    key, is_pair, _ = word[2:].partition("=")
    name = key.lstrip("+~")
    nested = "." in name or "/" in name
    if is_pair and (nested or name in TOP_LEVEL):
        return word[2:]
    if any(flag.startswith(key) for flag in OF_HYDRA.split()):  # which may be shortened
        return word
    if key.replace("-", "_") in KNOWN:
        raise UserError(
            f"{word}: a flag of run_qa.py; `python -m qa.from_run_qa {word} …` prints the command of this program"
        )
    if nested or name in TOP_LEVEL:
        value = "VALUE" if not after or after.startswith("-") or "=" in after else after
        raise UserError(f"{word}: not understood; write {own_files(key, value) or f'{key}={value}'}")
    raise UserError(f"{word}: no such flag{suggestion(name.replace('-', '_'), TOP_LEVEL)}")


def _check_saved_run(words: Sequence[str]) -> None:
    """Refuses a saved run as a configuration: it has no choices, and would lack its groups, folder and lock."""
    for word, following in pairwise([*words, ""]):
        flag, _, value = word.partition("=")
        if flag not in ("--config-path", "-cp", "--experimental-rerun"):
            continue
        path = Path(value or following)
        folder = path.parent if flag == "--experimental-rerun" else path
        if (saved := folder / "overrides.yaml").is_file():
            settings = [word for word in words if "=" in word and not word.startswith("-")]
            by_key = {word.partition("=")[0]: word for word in [*yaml.safe_load(saved.read_text("utf-8")), *settings]}
            again = shlex.join(["python", "train.py", *by_key.values()])
            raise UserError(f"{flag} {path}: nothing is composed from a saved run; repeat it by: {again}")
        if flag == "--experimental-rerun":
            raise UserError(f"{flag}: a pickle can run code; the words of a run are in RUN/.hydra/overrides.yaml")
