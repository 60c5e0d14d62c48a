"""Locks that divide a sweep's jobs among the processes that share its folder."""

from pathlib import Path

from filelock import FileLock, Timeout


class JobLocks:
    """The jobs of a folder that this process runs; the kernel releases them when it ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: dict[int, FileLock] = {}  # by the number of the job

    def take(self, number: int) -> bool:
        """Takes a job; False where this process or another one has it already."""
        if number in self._locks:
            return False
        lock = FileLock(self._folder / f".job-{number}")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self._locks[number] = lock
        return True

    def release(self, number: int) -> None:
        """Lets others have a job that is at its end."""
        if lock := self._locks.pop(number, None):
            lock.release()
