"""Lanes: PyTorch on a CPU computes several windows at the same time, each alone and with its share of the threads."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
STARTING = threading.Lock()  # torch's number of threads is another one while lanes start
MOST_LANES = 2  # two with half of the threads each do 1.4 times the work of one: a window has few sums to share out


def lane_count() -> int:
    """The number of lanes of a CPU: 1 where torch has one thread."""
    return min(MOST_LANES, torch.get_num_threads())


def lane_threads() -> int:
    """The threads of a lane."""
    return torch.get_num_threads() // lane_count()


class Lanes:
    """Threads that compute windows. Each has a fixed number of threads, so that a window's sums are always the same."""

    def __init__(self) -> None:
        self._start()

    def compute(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """The results in order; at most as many items as there are lanes are begun ahead."""
        if os.getpid() != self._process:  # a fork has no threads
            self._start()
        begun: deque[Future[_Result]] = deque()
        for item in items:
            begun.append(self._pool.submit(function, item))
            if len(begun) == self.count:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()

    def _start(self) -> None:
        with STARTING:
            threads, self.count = torch.get_num_threads(), lane_count()
            pool = ThreadPoolExecutor(self.count, "lane", _take_threads, (lane_threads(),))
            ready = threading.Barrier(self.count)
            try:
                for started in [pool.submit(ready.wait) for _ in range(self.count)]:
                    started.result()
            except BaseException:  # there may be no second thread
                ready.abort()
                raise
            torch.set_num_threads(threads)  # of all other threads
            self._pool, self._process = pool, os.getpid()


def _take_threads(count: int) -> None:
    torch.get_num_threads()  # torch gives a thread the number of all, when it asks first
    torch.set_num_threads(count)
