"""Processes: one for every device and every job of a sweep, started, watched, and ended together."""

import logging
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from qa.console import to_log_file
from qa.errors import printable
from qa.ranks import ERROR_FILE, MEETING, environment_without_slurm, rank, started_here

if sys.platform == "win32":
    raise SystemExit("ERROR: Windows is not supported; use Linux, macOS, or the Windows Subsystem for Linux")

PATIENCE = 60.0  # seconds that processes have to save a checkpoint after a signal
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
SWEEP = "QA_SWEEP"  # of a sweep's job: the sweep's end says what to open
TRIAL = "QA_TRIAL"  # of a search's job: NUMBER:JOURNAL, its trial and study

# a thread that waits for the others leaves its core to other programs: for GNU's OpenMP, and for LLVM's and Intel's
SLEEPING_THREADS = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)  # that ask a run to end


def watch_parent() -> None:
    """Ends this process as soon as the one that started it is gone, however it ended: its pipe to us closes."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def handle_signals(handler: Callable[[int], None]) -> Callable[[], None]:
    """Handles SIGNALS, but for SIGHUP where it is ignored, as under nohup. Returns the function that undoes it."""

    def handle(signum: int, _: Any) -> None:
        if signum == signal.SIGHUP:
            _leave_terminal()
        handler(signum)

    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    wanted = [signum for signum in SIGNALS if not (nohup and signum == signal.SIGHUP)]
    before = {signum: signal.signal(signum, handle) for signum in wanted}

    def undo() -> None:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)

    return undo


@contextmanager
def hand_on_signals(running: Callable[[], Iterable[Any]]) -> Iterator[list[int]]:
    """Sends SIGNALS on to the processes that run; yields the list of those that came so far."""
    received: list[int] = []

    def hand_on(signum: int) -> None:
        received.append(signum)
        for process in running():
            process.send_signal(signum)

    stop_handling = handle_signals(hand_on)
    try:
        yield received
    finally:
        stop_handling()


def _leave_terminal() -> None:
    """Sends later output to /dev/null, since writing to a closed terminal is an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode):
            os.dup2(nowhere, descriptor)
    os.close(nowhere)


def run_ranks(command: Sequence[str], count: int, lock: int | None) -> int:
    """Runs `command` once for every rank on this machine; returns 0, or the status of the first that failed.

    A rank that fails ends all others, and its error is the one that is shown. Signals are handed on; `lock` is
    inherited, so that it is held until the last rank is gone. Only the first rank prints. They meet in a file that is
    this user's alone and listen on the loopback device: torch.distributed runs what its peers send, without
    authentication.
    """
    interfaces = {name: os.environ.get(name, LOOPBACK) for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
    with tempfile.TemporaryDirectory() as folder:
        shared = {"WORLD_SIZE": str(count), "NODE_RANK": "0", MEETING: str(Path(folder, "meeting")), **interfaces}
        environment = {**environment_without_slurm(), **shared}
        errors = [Path(folder, f"error-{number}") for number in range(count)]
        processes = [
            subprocess.Popen(
                command,
                env={**environment, "RANK": str(number), "LOCAL_RANK": str(number), ERROR_FILE: str(error)},
                stdin=subprocess.PIPE,
                stdout=None if number == 0 else subprocess.DEVNULL,
                stderr=None if number == 0 else subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )
            for number, error in enumerate(errors)
        ]
        with hand_on_signals(lambda: processes) as received:
            try:
                first = _wait(processes, received)
            finally:
                for process in processes:
                    process.kill()
                    process.wait()
        return _status(first, processes, errors, received)


def _wait(processes: Sequence["subprocess.Popen[bytes]"], received: Sequence[int]) -> int | None:
    """Waits until all ended, or one failed, or `PATIENCE` is over after a signal. Returns the first that failed."""
    end: float | None = None
    while any(process.poll() is None for process in processes):
        failed = [number for number, process in enumerate(processes) if process.poll()]
        if failed and not received:
            time.sleep(0.5)  # another that failed for the same reason has its own words to say
            return failed[0]
        if received and end is None:
            end = time.monotonic() + PATIENCE
        if end is not None and time.monotonic() > end:
            return None
        time.sleep(0.02)
    return next((number for number, process in enumerate(processes) if process.returncode), None)


def _status(
    first: int | None, processes: Sequence["subprocess.Popen[bytes]"], errors: Sequence[Path], received: Sequence[int]
) -> int:
    """The exit status of the whole; reports the error that ended it."""
    if received and any(process.returncode for process in processes):
        return 128 + received[0]
    if first is None:
        return 0
    status = processes[first].returncode
    written = sorted((error for error in errors if error.exists()), key=lambda error: error.stat().st_mtime_ns)
    if status < 0 and not (status == -signal.SIGABRT and written):  # torch aborts a rank that waits for one that ended
        report_error(f"ERROR: process {first} {killed(status)}")
    elif written:
        report_error(written[0].read_text(encoding="utf-8"))
    return max(status, 1)


def killed(status: int) -> str:
    """The end of a process in words; `status`: negative, that of a signal."""
    return f"was killed by {signal.Signals(-status).name}; was the memory too small?"


def report_error(line: str) -> None:
    """Reports why this process ends: to the user, or to the process that started it, which chooses the one to show."""
    if started_here():
        Path(os.environ[ERROR_FILE]).write_text(line, encoding="utf-8")
    else:
        print(printable(line), file=sys.stderr)
    if rank() is None or not started_here():  # else the process that started this rank chooses among their errors
        to_log_file(line.removeprefix("ERROR: "), logging.ERROR)


def requeue(status: int) -> int:
    """Asks SLURM for another turn where SIGUSR1 ended the run. Returns the exit status unchanged."""
    if status == 128 + signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ and not rank():
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)
    return status


def leave_cores_to_others() -> None:
    """Sets SLEEPING_THREADS, unless the user chose how threads wait. OpenMP reads it once, as torch is imported."""
    if not SLEEPING_THREADS.keys() & os.environ.keys():
        os.environ.update(SLEEPING_THREADS)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def leave(status: int) -> NoReturn:
    """Ends this process with `status`; its error is reported already.

    One of several ends at once if something is wrong: what torch does as a process ends waits for the others, who wait
    for it. Under srun the first rank's status stands for all, which a signal may have ended before it has saved. A
    loader's workers, which leave signals to this process, end first: Python would wait for them.
    """
    import multiprocessing  # only after Windows was refused: it would look for modules there

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler takes their end for an error
    for worker in multiprocessing.active_children():
        worker.kill()
    if rank() is None or (rank() == 0 and status == 0):
        sys.exit(status)
    if rank() and status > 128 and "SLURM_PROCID" in os.environ:
        status = 0
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def stop(line: str) -> NoReturn:
    """Ends the program with one line and exit status 2."""
    report_error(f"ERROR: {' '.join(line.split())}")
    sys.exit(2)
