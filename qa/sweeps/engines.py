"""The jobs of a sweep, several at once: each in processes of its own, on this machine or on a cluster."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from qa.config.command_line import command
from qa.errors import UserError, first_line
from qa.internals import local_process
from qa.processes import PATIENCE, hand_on_signals, killed
from qa.ranks import ERROR_FILE, environment_without_slurm

TURNS = 1000  # of a job in a cluster's queue; each resumes where the last one ended
ERROR, OUTPUT = "error.txt", "output.txt"  # in a job's folder: its error, and its output where several run at once


class Job(NamedTuple):
    """A job to run: `arguments` of train.py; `settings` set it apart from the other jobs."""

    number: int
    settings: Mapping[str, Any]
    folder: Path
    arguments: Sequence[str]
    environment: Mapping[str, str] = {}

    @property
    def command(self) -> list[str]:
        return command(self.arguments, str(self.folder))


class Processes:
    """Jobs on this machine; `slots`: the environment of each of the jobs that run at the same time."""

    def __init__(self, slots: Sequence[Mapping[str, str]]) -> None:
        self.at_once, self.slots = len(slots), slots

    def start(self, job: Job, slot: int) -> "subprocess.Popen[bytes]":
        """Starts a job; `slot`: a number in [0, at_once) that no other running job has."""
        env = {**environment_without_slurm(), **job.environment, **self.slots[slot]}
        env[ERROR_FILE] = str(job.folder / ERROR)
        with (job.folder / OUTPUT).open("ab") if self.at_once > 1 else nullcontext() as output:
            return subprocess.Popen(
                job.command, env=env, stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
            )


class Submitted:
    """Jobs that submitit hands to a cluster, or to this machine in its place; its own files lie in `folder`."""

    def __init__(self, folder: Path, cluster: str, at_once: int, parameters: Mapping[str, Any]) -> None:
        """`parameters`: of submitit's `update_parameters`. Errors: UserError for others."""
        import submitit

        self.cluster, self.at_once = cluster, at_once
        try:
            turns: Any = {f"{cluster}_max_num_timeout": TURNS}
            self._executor = submitit.AutoExecutor(folder, cluster=cluster, **turns)
            self._executor.update_parameters(**parameters)
        except (NameError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"hydra/launcher=submitit_{cluster}: {first_line(error)}") from None

    def start(self, job: Job, slot: int) -> "Submission":
        environment = {**job.environment, ERROR_FILE: str((job.folder / ERROR).resolve())}
        try:
            return Submission(self._executor.submit(Command(job.command, environment, Path.cwd())), job)
        except RuntimeError as error:
            raise UserError(f"hydra/launcher=submitit_{self.cluster}: {first_line(error)}") from None


class Command:
    """The call that submitit makes on the other machine; when its time is over, it saves and asks for another turn."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        self.words, self.environment, self.folder = words, environment, folder

    def __call__(self) -> int:
        """Runs the command; returns its exit status."""
        environment = {**environment_without_slurm(), **self.environment}
        with subprocess.Popen(self.words, cwd=self.folder, env=environment, stdin=subprocess.PIPE) as process:
            signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # it saves a checkpoint
            try:
                return process.wait()
            except BaseException:
                process.terminate()
                process.wait(PATIENCE)
                raise

    def checkpoint(self) -> Any:
        """Another turn, for which submitit asks where a job is preempted or runs out of its time."""
        from submitit.helpers import DelayedSubmission

        words = [word for word in self.words if word != "resume=never"]  # it resumes
        return DelayedSubmission(Command(words, self.environment, self.folder))


class Submission:
    """A job that was submitted."""

    def __init__(self, submitted: Any, job: Job) -> None:
        self._submitted, self._job = submitted, job
        self._received = 0  # the signal that it got

    def poll(self) -> int | None:
        """The exit status; None as long as the job runs."""
        if not self._submitted.done():
            return None
        try:
            return int(self._submitted.result())
        except Exception as error:  # whatever a cluster does to a job
            if self._received:
                return 128 + self._received
            (self._job.folder / ERROR).write_text(f"{first_line(error)}; see {self._submitted.paths.stderr}")
            return 1

    def send_signal(self, signum: int, /) -> None:
        self._received = signum
        if here := local_process(self._submitted):
            here.terminate()  # submitit's own way leaves a job on this machine a second to end
        else:
            self._submitted.cancel()

    def kill(self) -> None:
        self._submitted.cancel()


JobEngine = Processes | Submitted
Running = subprocess.Popen[bytes] | Submission


def run_jobs(
    jobs: Iterator[Job], engine: JobEngine, began: Callable[[Job], None], ended: Callable[[Job, int], None]
) -> int:
    """Starts each job as soon as there is room for it. Returns the signal that ended it all before its time, or 0.

    A signal is handed on to what runs, and no further job is started.
    """
    running: dict[int, tuple[Job, Running]] = {}  # by slot
    with hand_on_signals(lambda: [process for _, process in running.values()]) as received:
        try:
            end = float("inf")
            while time.monotonic() < end:
                free = [slot for slot in range(engine.at_once) if slot not in running]
                while free and not received and (job := next(jobs, None)):
                    began(job)
                    slot = free.pop(0)
                    running[slot] = job, engine.start(job, slot)
                    if received:
                        running[slot][1].send_signal(received[0])
                if not running:
                    break
                for slot, (job, process) in list(running.items()):
                    if (status := process.poll()) is not None:
                        del running[slot]
                        ended(job, status)
                if received:
                    end = min(end, time.monotonic() + 1.5 * PATIENCE)  # each job has PATIENCE for its own processes
                time.sleep(0.05)
        finally:
            _end([process for _, process in running.values()], 0.0 if received else PATIENCE)
    return received[0] if received else 0


def _end(processes: Sequence[Running], patience: float) -> None:
    """Ends the running jobs where this program fails: each has `patience` seconds to save a checkpoint."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    end = time.monotonic() + patience
    while time.monotonic() < end and any(process.poll() is None for process in processes):
        time.sleep(0.05)
    for process in processes:
        process.kill()


def job_error(job: Job, status: int) -> str:
    """The reason of a job's failure, on one line."""
    path = job.folder / ERROR
    if path.exists() and (words := path.read_text(encoding="utf-8").strip()):
        return words.splitlines()[-1].removeprefix("ERROR: ")
    return killed(status) if status < 0 else f"ended with status {status}; see {job.folder}"


def visible_gpus() -> list[str]:
    """The GPUs that may be used, by the names that CUDA_VISIBLE_DEVICES takes."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    names = visible.split(",") if visible else list(map(str, range(count)))
    # CUDA shows a process the first part of a GPU alone
    return names if count and all(name.startswith("MIG-") for name in names) else names[:count]


def device_slots(at_once: int, devices: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """The GPUs, or the share of the cores, of each of `at_once` jobs with `devices` devices.

    `gpus`: names for CUDA_VISIBLE_DEVICES; empty for a CPU. Errors: UserError where there are too few.
    """
    if gpus and at_once * devices > len(gpus):
        raise UserError(
            f"hydra.launcher.n_jobs={at_once}: with trainer.devices={devices} they need {at_once * devices} GPUs, here"
            f" are {len(gpus)}; give n_jobs={max(1, len(gpus) // devices)} or fewer devices"
        )
    if gpus:
        parts = [gpus[slot * devices : (slot + 1) * devices] for slot in range(at_once)]
        return [{"CUDA_VISIBLE_DEVICES": ",".join(part)} for part in parts]
    threads = max(1, (os.cpu_count() or 1) // (at_once * devices))
    return [{"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}] * at_once
