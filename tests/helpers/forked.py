"""A Python that has imported torch and Lightning as it starts: importing them is most of a short run."""

import fcntl
import functools
import gc
import json
import os
import random
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parent.parent.parent
FRESH = False  # whether every process starts as a user starts it: with `--prove`
IMPORTED = (
    "matplotlib.backends.backend_svg", "optuna", "pandas", "qa.answering.answerer", "qa.answering.files",
    "qa.config.entry", "qa.review.charts", "qa.review.comparison", "qa.review.run_page", "qa.serving.app",
    "qa.serving.server", "qa.sweeps.sweep", "qa.tracking.loggers", "qa.training.building", "qa.training.evaluate",
    "qa.training.fit", "qa.training.signals", "transformers.models.bert.modeling_bert",
)  # fmt: skip
# the beginnings of variables that count as Python starts, or as a library is imported
AT_START = ("CUDA_", "HF_", "HOME", "KMP_", "LANG", "LC_", "LD_", "NO_COLOR", "OMP_", "PYTHON", "TERM")


def python() -> str:
    """A program that does as Python does, but starts scripts of this project, `-m qa.…` and `-c …` with all imported.

    Its process stands for a forked one: it hands on signals to that one, and ends as that one does. It starts Python
    itself for all else, at a terminal, and with other values of variables in AT_START. The forked process has it as
    `sys.executable`, so that ranks and jobs of a sweep start in the same way.
    """
    return sys.executable if FRESH or sys.platform != "linux" else server()[0]


@functools.cache
def server() -> tuple[str, "subprocess.Popen[bytes]"]:
    """The program, and the process that forks for it, which ends with this one: it reads a pipe of this one's."""
    folder = Path(tempfile.mkdtemp(prefix="qa-forked-"))
    program, address, client = folder / "python", folder / "socket", Path(__file__).with_name("forked_client.py")
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {client} {address} {sys.executable} "$@"\n')
    program.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        process = subprocess.Popen(
            [sys.executable, __file__, str(listener.fileno()), str(program)], stdin=subprocess.PIPE, cwd=ROOT,
            env={**os.environ, "HF_HUB_OFFLINE": "1"}, pass_fds=[listener.fileno()], start_new_session=True,
        )  # fmt: skip
    return str(program), process


def serve(listener: socket.socket, program: str) -> None:
    """Forks for every process that asks, until the one that started this one is gone, whose pipe then ends."""
    sys.path[0] = str(ROOT)
    from qa.processes import leave_cores_to_others

    leave_cores_to_others()  # before torch is imported, as train.py does
    for name in IMPORTED:
        import_module(name)
    from qa.data.reading.languages import recognised_language

    recognised_language("Its model is read once.")
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            attend(connection, program)
        connection.close()
    shutil.rmtree(Path(program).parent)


def attend(connection: socket.socket, program: str) -> None:
    """Forks a process as a client asks, and tells it how that one ends; kills that one if the client ends before."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, descriptors, *_ = socket.recv_fds(connection, 1, 99)
    lines = connection.makefile("rw")
    asked = json.loads(lines.readline())
    process = os.fork() if is_known(asked) else -1
    if process == 0:
        lines.close()
        connection.close()
        become(asked, descriptors, program)
    for descriptor in descriptors:
        os.close(descriptor)
    print(process, file=lines, flush=True)
    if process > 0:
        ended = os.pidfd_open(process)
        if ended not in select.select([ended, connection.fileno()], [], [])[0]:
            os.kill(process, signal.SIGKILL)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), file=lines, flush=True)
    os._exit(0)


def is_known(asked: dict[str, Any]) -> bool:
    """Whether a fork of this process is what Python would be with these words and variables."""
    first, second = [*asked["words"], "", ""][:2]
    here, there = ({k: v for k, v in each.items() if k.startswith(AT_START)} for each in (os.environ, asked["env"]))
    if first == "-m":
        known = second.startswith("qa.")
    else:
        known = first == "-c" or (first.endswith(".py") and Path(asked["cwd"], first).is_relative_to(ROOT))
    return known and {**here, **there} == here


def become(asked: dict[str, Any], descriptors: list[int], program: str) -> NoReturn:
    """Does in this process what Python would do with these words."""
    os.setsid()
    above = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 99) for each in descriptors]  # out of the way of the others
    for each, number in zip(above, asked["descriptors"], strict=True):
        os.dup2(each, number)
    for each in {*above, *descriptors} - {*asked["descriptors"]}:
        os.close(each)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    random.seed()
    sys.executable = program
    first, *rest = asked["words"]
    if first == "-c":
        sys.path[0], sys.argv = "", ["-c", *rest[1:]]
        exec(rest[0], {"__name__": "__main__"})
    elif first == "-m":
        sys.path[0], sys.argv = asked["cwd"], rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0], sys.argv = str(Path(first).resolve().parent), asked["words"]
        runpy.run_path(first, run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
