"""Windows that a CPU computes at the same time."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest
import torch

from qa.answering.answerer import QuestionAnswerer
from qa.answering.lanes import Lanes, lane_count, lane_threads
from qa.answering.work import Ask


@pytest.fixture(autouse=True)
def six_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(6)
    yield
    torch.set_num_threads(before)


def test_each_lane_has_its_share_of_the_threads_and_nobody_else_has_fewer() -> None:
    lanes, others, together = Lanes(), list[int](), Barrier(2, timeout=20)

    def threads(_: int) -> int:
        together.wait()  # never passed where one is computed after the other
        return torch.get_num_threads()

    assert list(lanes.compute(threads, range(6))) == [3] * 6
    other = Thread(target=lambda: others.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert (torch.get_num_threads(), others) == (6, [6])
    torch.set_num_threads(1)
    assert (lane_count(), lane_threads()) == (1, 1)
    assert list(Lanes().compute(str, range(3))) == ["0", "1", "2"]


def test_no_more_is_begun_than_there_are_lanes_and_an_error_comes_in_its_turn() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(9):
            taken.append(number)
            yield number

    results = Lanes().compute(lambda number: 6 // (3 - number), items())
    assert (next(results), taken) == (2, [0, 1])
    assert (next(results), taken) == (3, [0, 1, 2])
    assert next(results) == 6
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_the_answers_are_those_of_one_lane(tiny: Path) -> None:
    texts = [f"{number} bridges were built by Ada Brill. " * (3 * number) for number in range(1, 9)]
    asks = [Ask("Who built it?", [text]) for text in texts]
    torch.set_num_threads(2)
    two = QuestionAnswerer.from_pretrained(str(tiny), "cpu").answers(asks)
    torch.set_num_threads(1)
    assert QuestionAnswerer.from_pretrained(str(tiny), "cpu").answers(asks) == two


def test_a_forked_process_has_lanes_of_its_own() -> None:
    lanes = Lanes()
    process = os.fork()
    if process == 0:
        signal.alarm(20)
        os._exit(0 if list(lanes.compute(str, range(3))) == ["0", "1", "2"] else 1)
    assert os.waitpid(process, 0)[1] == 0
