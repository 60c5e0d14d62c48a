"""`train.py` in processes forked from one that has imported its libraries: importing them is most of a short run."""

import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

TRAIN = Path(__file__).parent.parent.parent / "train.py"


class Forked:
    """Runs `train.py ARGUMENTS` one after another, each in a process of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.server: subprocess.Popen[str] | None = None

    def run(self, arguments: list[str], timeout: float) -> "subprocess.CompletedProcess[str]":
        """The status and output of a run. Errors: subprocess.TimeoutExpired, after which it is killed."""
        self.server = self.server or subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TRAIN.parent,
            env=self.environment, start_new_session=True,
        )  # fmt: skip
        assert self.server.stdin is not None and self.server.stdout is not None
        with tempfile.TemporaryDirectory() as folder:
            said = Path(folder, "output"), Path(folder, "errors")
            try:
                print(json.dumps([arguments, *map(str, said)]), file=self.server.stdin, flush=True)
                if not select.select([self.server.stdout], [], [], timeout)[0]:
                    raise subprocess.TimeoutExpired(arguments, timeout)
                status = int(self.server.stdout.readline())
            except BaseException:
                self.end()
                raise
            return subprocess.CompletedProcess(arguments, status, *(path.read_text("utf-8") for path in said))

    def end(self) -> None:
        """Kills all of its processes."""
        if self.server:
            os.killpg(self.server.pid, signal.SIGKILL)
            self.server.communicate()
            self.server = None


def serve() -> None:
    """Forks for each line of arguments, and answers with the exit status."""
    sys.path[0] = str(TRAIN.parent)
    for name in ("config.entry", "training.evaluate", "training.fit", "training.parts", "training.signals"):
        import_module(f"qa.{name}")
    for line in sys.stdin:
        if (process := os.fork()) == 0:
            arguments, *said = json.loads(line)
            for descriptor, path in enumerate((os.devnull, *said)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), descriptor)
            sys.argv = [str(TRAIN), *arguments]
            runpy.run_path(str(TRAIN), run_name="__main__")  # ends in SystemExit
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
