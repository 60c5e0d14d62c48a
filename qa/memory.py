"""The memory of this process: how much it took, and what glibc does with what is freed."""

import ctypes
import re
import sys
from pathlib import Path


def peak_resident_memory() -> float:
    """The most memory that this process held so far, in GiB.

    getrusage counts what it had before it became another program, too: the memory of whoever started it.
    """
    status = Path("/proc/self/status")
    most = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.exists() else None
    if most:
        return int(most[1]) / 2**20
    import resource  # which Windows does not have

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def keep_freed_memory() -> None:
    """Makes glibc keep what is freed: it returns every large buffer to the kernel, which costs a padded step a sixth
    of its time in page faults."""
    if sys.platform == "linux":
        # a threshold beyond 32 MiB is not taken, and without any mappings of their own the buffers fragment the heap
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: what is freed stays


def return_freed_memory() -> None:
    """Makes glibc return large buffers to the kernel: of many sizes they would fragment a heap that lives long."""
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(-3, 4 << 20)  # M_MMAP_THRESHOLD, which otherwise grows by itself
