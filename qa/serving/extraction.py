"""The server's side of reading uploaded files: a process for each, watched, and killed where it takes too much."""

import asyncio
import json
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from qa.errors import UserError, printable
from qa.serving.limits import busy
from qa.serving.uploads import ExtractionLimits, remedy, too_large, too_long

log = logging.getLogger(__name__)

MAX_PROCESSES, MAX_WAITING = 2, 8  # processes, and files that wait for one
LONGEST_NAME = 200  # bytes; a file system takes 255
KILL_PATIENCE = 5.0  # seconds for a killed process to be gone
OVERHEAD = 1 << 16  # bytes of an answer that are no text
USUAL_LIMITS = ExtractionLimits()
ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parents[2]),
    "PYTHONSAFEPATH": "1",  # no module of the folder that holds the user's file
    "MALLOC_ARENA_MAX": "2",  # each takes address space
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # likewise
    "OMP_NUM_THREADS": "1",
}


class Extractor:
    """Reads uploaded files, a few at a time, each within `limits`. One for a server, in one event loop."""

    def __init__(self, limits: ExtractionLimits = USUAL_LIMITS) -> None:
        self.limits = limits
        self._room = asyncio.Semaphore(MAX_PROCESSES)
        self._files = 0

    async def extract(self, content: Literal["text", "questions"], name: str, data: bytes) -> bytes:
        """The text of a file called `name`, or its questions, a `QuestionsResponse` as JSON. Errors: UserError."""
        if self._files >= MAX_PROCESSES + MAX_WAITING:
            raise busy("other files are being read")
        self._files += 1
        try:
            async with self._room:
                with TemporaryDirectory() as folder:
                    return await self._read(content, file_name(name), data, folder)
        finally:
            self._files -= 1

    async def _read(self, content: str, name: str, data: bytes, folder: str) -> bytes:
        try:
            answer, status = await self._run(content, name, data, folder)
            if status == -signal.SIGXCPU:
                raise TimeoutError
            first, _, rest = answer.partition(b"\n")
            problem = _Problem.model_validate_json(first if status == 0 else b"")
        except TimeoutError:
            words = f"took more than {self.limits.seconds:g} s to read; {remedy(name)}"
            raise UserError(f"{name}: {words}") from None
        except ValidationError:
            log.warning("the reader of a file ended with status %s", status)
            raise UserError(too_large(name, self.limits)) from None
        if problem.fault:
            log.warning("the reader of a file failed: %s", problem.fault)
        if problem.error:
            raise UserError(problem.error)
        return rest

    async def _run(self, content: str, name: str, data: bytes, folder: str) -> tuple[bytes, int]:
        """The answer of a process, and its status. Errors: TimeoutError; UserError where it answers too much."""
        most = 4 * self.limits.characters + OVERHEAD  # bytes of UTF-8
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "qa.serving.documents", content, name, json.dumps(self.limits)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=folder,
            env={**ENVIRONMENT, "TMPDIR": folder},
            start_new_session=True,
        )
        assert process.stdin and process.stdout
        feeding = asyncio.create_task(_feed(process.stdin, data))
        try:
            async with asyncio.timeout(self.limits.seconds):
                try:
                    await process.stdout.readexactly(most + 1)
                except asyncio.IncompleteReadError as whole:
                    return whole.partial, await process.wait()
            raise UserError(too_long(name, self.limits))
        finally:
            with suppress(ProcessLookupError, PermissionError):  # the second on macOS, of a process that has ended
                os.killpg(process.pid, signal.SIGKILL)
            feeding.cancel()
            await _wait_for_end(process, process.stdout)


class _Problem(BaseModel):
    """The reason that a process has no content; a `fault` is for the log."""

    model_config = ConfigDict(strict=True, extra="forbid")
    error: str = ""
    fault: str = ""


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # it ended before it had read all: its status tells
        stdin.write(data)
        await stdin.drain()
        stdin.close()


async def _wait_for_end(process: asyncio.subprocess.Process, stdout: asyncio.StreamReader) -> None:
    """Returns once a killed process is gone: asyncio also waits for the end of its pipe, so that is read."""
    with suppress(TimeoutError):
        async with asyncio.timeout(KILL_PATIENCE):
            while await stdout.read(1 << 16):
                pass
            await process.wait()


def file_name(name: str) -> str:
    """The last part of a path, without control characters, shortened in the middle."""
    last = name.replace("\\", "/").rpartition("/")[2]
    encoded = printable(" ".join(last.split())).encode(errors="replace")
    if len(encoded) > LONGEST_NAME:
        begin, end = encoded[: LONGEST_NAME - 40].decode(errors="ignore"), encoded[-30:].decode(errors="ignore")
        return f"{begin}…{end}"
    return encoded.decode() if encoded.strip(b".") else "unnamed"
