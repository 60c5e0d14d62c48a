"""What ranks tell each other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers.paths import ROOT

RANK = """
import sys, torch
from qa.training.collectives import sum_rows
rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
generator = torch.Generator().manual_seed(rank)
matrix, rows = torch.zeros(50, 7), torch.randint(0, 50, (6 + rank,), generator=generator).repeat(2)
matrix[rows] = torch.randn(50, 7, generator=generator)[rows]
if rank == 0:
    matrix[rows[0], 3] = torch.inf  # of a step that is not finite
whole = matrix.clone()
torch.distributed.all_reduce(whole)
sum_rows(matrix, rows, 30)
torch.save((matrix, whole), f"{folder}/{rank}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_rows_are_added_up_as_whole_matrices_are(world: int, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(world), str(tmp_path)], env=env)
        for rank in range(world)
    ]
    assert [process.wait(timeout=120) for process in ranks] == [0] * world
    summed = [torch.load(tmp_path / str(rank)) for rank in range(world)]
    for matrix, whole in summed:
        assert torch.equal(matrix, summed[0][0])  # on every rank
        torch.testing.assert_close(matrix, whole)
        if world == 2:
            assert torch.equal(matrix, whole)
