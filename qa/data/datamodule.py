"""`SquadDataModule`: the data of a run as Lightning takes them."""

import signal
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from qa import recipe
from qa.data.epochs.batch_order import batches_of_rank, ordered_batches
from qa.data.epochs.batches import Batch, EpochSampler, EvaluationBatches, TrainingBatches, WindowDataset
from qa.data.reading.sources import Split
from qa.data.squad_data import SquadData
from qa.data.windows.tokenizer import pair_template
from qa.processes import SIGNALS

SPLITS: dict[str, tuple[Split, ...]] = {
    "fit": ("train", "validation"),
    "validate": ("validation",),
    "test": ("test",),
    "predict": ("predict",),
}


class SquadDataModule(SquadData, LightningDataModule):
    """`SquadData` with the loaders of its batches.

    Under a bare `lightning.Trainer`: `data.connect(tokenizer)`, then `trainer.fit(module, datamodule=data)`.
    """

    _first_step, _steps_per_epoch = 0, 0

    def connect(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Gives the tokenizer with which `setup` cuts the splits into windows."""
        self.tokenizer = tokenizer

    def setup(self, stage: str) -> None:
        """Prepares the splits of the stage that are not prepared yet; a fit may do without validation data.

        Errors: as `prepare_split`.
        """
        for split in SPLITS[stage]:
            if split not in self.splits and (self.sources.has(split) or split == SPLITS[stage][0]):
                self.prepare_split(split, self.tokenizer)

    def resume(self, step: int, steps_per_epoch: int) -> None:
        """Makes training begin after `step` steps of epochs of `steps_per_epoch` batches."""
        self._first_step, self._steps_per_epoch = step, steps_per_epoch

    def train_dataloader(self) -> DataLoader[Batch]:
        train, template = self.splits["train"], pair_template(self.tokenizer)
        dataset = TrainingBatches(train.windows, train.examples, template, train.labels, *self._rank())
        epoch, done = divmod(self._first_step, self._steps_per_epoch) if self._first_step else (0, 0)
        return self._loader(dataset, EpochSampler(self.training_batches, self.batch_count(), epoch, done))

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._evaluation("validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._evaluation("test")

    def predict_dataloader(self) -> DataLoader[Batch]:
        return self._evaluation("predict")

    def _evaluation(self, split: Split) -> DataLoader[Batch]:
        part = self.splits[split]
        size = self.eval_batch_size or (64 if self._is_on_gpu() else recipe.BATCH_SIZE)
        batches = ordered_batches(part.evaluated, part.windows.lengths(), size)
        dataset = EvaluationBatches(part.windows, part.examples, pair_template(self.tokenizer))
        return self._loader(dataset, batches_of_rank(batches, *self._rank()))

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _is_on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def _loader(self, dataset: WindowDataset, batches: EpochSampler | list[NDArray[np.int64]]) -> DataLoader[Batch]:
        # a generator of its own: without one each new iterator draws from the stream that dropout uses
        generator = torch.Generator().manual_seed(self.seed)
        gpu = self._is_on_gpu()
        workers = self.num_workers if self.num_workers is not None else 2 * gpu
        return DataLoader(
            dataset, sampler=batches, batch_size=None, num_workers=workers, generator=generator, pin_memory=gpu,
            persistent_workers=workers > 0, worker_init_fn=leave_signals, collate_fn=as_it_is,
        )  # fmt: skip


def as_it_is(batch: Any) -> Any:
    """Keeps arrays that only the host needs from becoming tensors, which would travel to the device and back."""
    return batch


def leave_signals(_: int) -> None:
    """Makes a worker ignore signals: the process that it works for ends both, and may have a step to finish first."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
