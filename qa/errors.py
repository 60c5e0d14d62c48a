"""Errors as part of the interface: one line each, and one exit path for all commands."""

import argparse
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from qa.storage import is_pointer

# C0, DEL and C1, which move a terminal's cursor, set its title or fill its clipboard
CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
CONTROLS |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
OF_TRAIN = re.compile(r"\b(?:data|model|trainer)\.[a-z_.]*[=*]")  # settings of train.py
FLAGS = {r"data\.columns\.": "--column ", r"^model\.pretrained=": "--model "}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class UserError(Exception):
    """An error that the user can fix. The message is one line: what is wrong, where, and the remedy; exit status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """The text with pictures in place of its control characters: safe for a terminal, whatever the data hold."""
    return text.translate(CONTROLS)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def one_line(error: BaseException) -> str:
    """An error's message as one line, or the name of its class."""
    return " ".join(str(error).split()) or type(error).__name__


def explain(error: BaseException, folder: str = "the disk") -> str | None:
    """The line for an error that the user can fix; None for a fault of this program.

    `folder`: the place to name where a full disk does not name a file.
    """
    if isinstance(error, UserError):
        return one_line(error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        place = error.filename or folder
        return one_line(UserError(f"{place}: {error.strerror}; make room there, or give another folder"))
    if is_out_of_memory(error):
        remedy = "lower data.micro_batch_size or data.eval_batch_size, or take trainer.precision=bf16-mixed"
        return f"{one_line(error).partition('. ')[0]}; {remedy}"  # further sentences are for programmers
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device ran out of memory, in any of the forms that torch, CUDA, cuBLAS and NCCL give it."""
    forms = ("out of memory", "_STATUS_ALLOC_FAILED", "can't allocate memory")
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and any(form in str(error) for form in forms)
    )


def why_unreadable(error: Exception, place: str | Path) -> str:
    """The reason for an error of transformers, torch or safetensors about a file, or about the files of a folder."""
    files = sorted(Path(place).iterdir()) if Path(place).is_dir() else [Path(place)]
    if pointers := [file.name for file in files if file.is_file() and is_pointer(file)]:
        return f"Git LFS pointers, not the files: {', '.join(pointers)}; `git lfs pull` in their folder gets the files"
    if "trust_remote_code" in str(error):
        return "it comes with code of its own, which is not run"  # transformers' own words advise to let it
    if "Weights only load failed" in str(error):
        return "it holds more than weights, and would run code"  # torch's own words advise to let it
    return first_line(error)


SPELLED: dict[str, str] = {}  # {name: flag} of the door that runs, such as "top_k": "--top-k"


class Flags(argparse.ArgumentParser):
    """The flags of `python -m qa.NAME`; wrong ones are a UserError."""

    def __init__(self, name: str, description: str | None) -> None:
        """`description`: a text such as a module's; its first line counts."""
        SPELLED.clear()
        super().__init__(prog=f"python -m {name}", description=(description or "").partition("\n")[0])

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Adds a flag as argparse does; errors then have the flag in place of its name."""
        action = super().add_argument(*names, **options)
        SPELLED[action.dest] = names[-1]
        return action

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help has all flags")


class InFlags(logging.Formatter):
    """A door's warnings: in its words, and safe for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname}: {in_flags(printable(super().format(record)))}"


def spelled(line: str, names: Mapping[str, str]) -> str:
    """The line with a door's names of settings of train.py, {expression: replacement}, and no advice of others."""
    for setting, name in names.items():
        line = re.sub(setting, name, line)
    first, *others = line.split("; ")
    return "; ".join([first, *(part for part in others if not OF_TRAIN.search(part))])


def in_flags(line: str) -> str:
    """The line in the words of a door: with its flags, and without advice of settings of train.py."""
    flags = {rf"(?<!\S){name}=": f"{flag} " for name, flag in SPELLED.items() if flag.startswith("--")}
    return spelled(line, {**flags, **FLAGS})


def door(main: Callable[[], int | None]) -> NoReturn:
    """Runs `python -m qa.NAME` and ends it: 0, 2 with one line for what the user can fix, or 130 for Ctrl-C.

    `main` imports what needs torch: the variables that are set here are read as torch is imported.
    """
    from qa.processes import leave_cores_to_others  # which imports this module

    leave_cores_to_others()
    if logging.lastResort:  # which prints the warnings of a program without handlers
        logging.lastResort.setFormatter(InFlags())
    try:
        status = main() or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Exception as error:
        if (line := explain(error)) is None:
            raise
        print(f"ERROR: {in_flags(line)}", file=sys.stderr)
        status = 2
    sys.exit(status)
