"""All ranks of an epoch, simulated: how evenly they share its tokens, and how soon a resumed run knows its order."""

import time

import numpy as np
from numpy.typing import NDArray

from qa.data.datamodule import SquadDataModule
from qa.data.epochs.batches import TrainingBatches
from qa.data.windows.tokenizer import pair_template

RANKS, BATCH, EPOCH = (1, 2, 8, 64, 1024), 16, 100  # windows of a rank's batch
COLUMNS = "ranks", "steps", "all steps", "all steps, padded", "full steps", "full steps, padded", "CPU s to resume"


def dealt_tokens(data: SquadDataModule, ranks: int) -> NDArray[np.int64]:
    """Tokens that each rank computes in each step of an epoch, without and with padding, [2, ranks, steps]."""
    train, batches, template = data.splits["train"], data.training_batches(EPOCH), pair_template(data.tokenizer)
    tokens = np.zeros((2, ranks, len(batches)), np.int64)
    for rank in range(ranks):
        dataset = TrainingBatches(train.windows, train.examples, template, train.labels, rank, ranks)
        for step, rows in enumerate(batches):
            batch = dataset[rows]
            tokens[:, rank, step] = batch["lengths"].sum(), batch["input_ids"].numel()
    return tokens


def excess(tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """By how much the ranks' largest part of a step exceeds their mean, over all steps; `tokens`: [2, ranks, steps].

    In each step all ranks wait for the one with most, so that this is the share of time that waiting adds.
    """
    share: NDArray[np.float64] = tokens.max(axis=1).sum(axis=1) / tokens.mean(axis=1).sum(axis=1) - 1
    return share


def rank_row(data: SquadDataModule, ranks: int) -> str:
    """A row of the second table: all ranks of one epoch, and a run that resumes in its middle."""
    data.batch_size = BATCH * ranks
    count = data.batch_count()
    data.resume(EPOCH * count + count // 2, count)
    begin = time.process_time()
    next(iter(data.train_dataloader().sampler))
    seconds = time.process_time() - begin
    tokens = dealt_tokens(data, ranks)
    cells = [f"{share:.1%}" for share in (*excess(tokens), *excess(tokens[:, :, :-1]))]
    return f"| {ranks:,} | {count:,} | {' | '.join(cells)} | {seconds:.3f} |"
