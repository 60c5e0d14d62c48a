"""Two sides of a comparison in turns, each in a process of its own."""

import json
import os
import shlex
import subprocess
import sys
import time
from contextlib import ExitStack
from subprocess import PIPE
from typing import IO, NamedTuple

from qa.errors import UserError
from qa.memory import peak_resident_memory
from qa.processes import SLEEPING_THREADS


class Took(NamedTuple):
    """What one round of one side took."""

    seconds: float
    gib: float  # at most, of the process so far


class Turns:
    """What a side calls once it is set up, and after each round."""

    def __init__(self, rounds: int, reports: IO[str]) -> None:
        self.rounds, self.reports, self.begin = rounds, reports, time.perf_counter()

    def __call__(self) -> bool:
        """Reports the round that ends, waits for the next one; whether there is one."""
        seconds = time.perf_counter() - self.begin
        print(json.dumps([seconds, peak_resident_memory()]), file=self.reports, flush=True)
        told = sys.stdin.readline()
        self.begin = time.perf_counter()
        return bool(told)


def in_turns(rounds: int, usual: list[str], ours: list[str]) -> list[tuple[Took, Took]]:
    """What each round of both took, the usual way first; who begins changes from round to round.

    `usual`, `ours`: arguments of `python -m bench.sides`. Errors: UserError for a side that ends.
    """
    commands = [[sys.executable, "-m", "bench.sides", str(rounds), *words] for words in (usual, ours)]
    plain = {name: value for name, value in os.environ.items() if name not in SLEEPING_THREADS}
    environments = plain, {**plain, **SLEEPING_THREADS}  # as a command of ours sets it for itself
    with ExitStack() as stack:
        sides = [
            stack.enter_context(subprocess.Popen(command, env=environment, stdin=PIPE, stdout=PIPE, text=True))
            for command, environment in zip(commands, environments, strict=True)
        ]
        for side in sides:
            _report(side)  # it is set up
        found = []
        for number in range(rounds):
            took = {place: _round(sides[place]) for place in ((0, 1) if number % 2 == 0 else (1, 0))}
            found.append((took[0], took[1]))
        return found


def _round(side: "subprocess.Popen[str]") -> Took:
    assert side.stdin is not None
    print(file=side.stdin, flush=True)
    return _report(side)


def _report(side: "subprocess.Popen[str]") -> Took:
    assert side.stdout is not None
    if not (line := side.stdout.readline()):
        raise UserError(f"{shlex.join(side.args)}: ended with status {side.wait()}; see above")  # type: ignore[arg-type]
    return Took(*json.loads(line))
