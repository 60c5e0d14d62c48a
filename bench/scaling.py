"""How time and memory grow with the questions, and the sampler with the ranks: python -m bench.scaling [ROUNDS]

The first table: new_wiki's questions again and again, MiniLM's tokenizer, one core. Each part of each size runs in a
process of its own, ROUNDS times (5), in turns, after it was done once with a few questions; medians. Decoding is of
random logits. The second table simulates all ranks of an epoch, which get their windows as in a run.
"""

import ctypes
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from bench import evaluations
from bench.decoding import Computed, ours, repeated
from bench.ranks import BATCH, COLUMNS, RANKS, rank_row
from bench.rows import MINILM, WIKI, data_folder, many
from bench.usual.windows import MAX_LENGTH, STRIDE
from qa.console import console
from qa.data.datamodule import SquadDataModule
from qa.data.epochs.batch_order import epoch_batches
from qa.data.reading.examples import read_examples
from qa.data.windows.build import build_windows
from qa.data.windows.cache import cached_windows, fingerprint
from qa.data.windows.tokenizer import load_tokenizer
from qa.errors import door

SIZES, FEW = (1_000, 10_000, 100_000), 100  # questions
SEED, EPOCHS = 42, 20  # whose orders are timed together
Work = Callable[[], int]  # does a part, returns how many questions or windows it was


class Cost(NamedTuple):
    """What a part took."""

    units: int
    seconds: float  # of CPU
    mib: float  # at most, above what the process held before


def reading(file: str, _: int) -> Work:
    return lambda: len(read_examples(file).examples)


def windowing(file: str, _: int) -> Work:
    """With the cache's key and file, as in a run's first look at its data."""
    examples, tokenizer = read_examples(file).examples, load_tokenizer(MINILM)

    def work() -> int:
        with tempfile.TemporaryDirectory() as cache:
            path = Path(cache) / f"{fingerprint(examples, tokenizer, MAX_LENGTH, STRIDE)}.safetensors"
            return len(cached_windows(path, examples, tokenizer, MAX_LENGTH, STRIDE))

    return work


def order(file: str, _: int) -> Work:
    lengths = build_windows(read_examples(file).examples, load_tokenizer(MINILM), MAX_LENGTH, STRIDE).lengths()

    def work() -> int:
        for epoch in range(EPOCHS):
            epoch_batches(lengths, BATCH, "bucketed", SEED, epoch)
        return EPOCHS * len(lengths)

    return work


def decoding(_: str, count: int) -> Work:
    some = evaluations.examples(FEW)
    computed = [Computed(batch, logits) for logits, batch, _ in evaluations.batches(some)]
    asked, batches = repeated(list(some.values()), computed, count)
    return lambda: len(ours(asked, batches).questions)


PARTS: dict[str, tuple[Callable[[str, int], Work], str]] = {
    "reading and checking": (reading, "questions"),
    "windowing, cold": (windowing, "windows"),
    "order of an epoch": (order, "windows"),
    "logits → answers, EM and F1": (decoding, "questions"),
}


def measure(part: str, few: str, file: str, count: int) -> Cost:
    """What a part takes for the `count` questions of a file; a file with a few questions is to begin with."""
    console.quiet = True
    prepare, _ = PARTS[part]
    prepare(few, FEW)()
    work = prepare(file, count)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what is free would hide what the part takes
    Path("/proc/self/clear_refs").write_text("5")  # the most it held is now what it holds
    before, begin = _most(), time.process_time()
    units = work()
    return Cost(units, time.process_time() - begin, _most() - before)


def _most() -> float:
    """The most memory that this process held since its last reset, MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def in_a_process(part: str, few: str, file: str, count: int) -> Cost:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, part, few, file, count).result()


def cost_row(part: str, rounds: list[list[Cost]]) -> str:
    """A row of the first table. `rounds`: the costs of all sizes, in turns."""
    sizes = list(zip(*rounds, strict=True))
    seconds = [f"{statistics.median(1e6 * cost.seconds / cost.units for cost in size):.3g}" for size in sizes]
    mib = [f"{statistics.median(cost.mib for cost in size):.1f}" for size in sizes]
    growth = []
    for what in ("seconds", "mib"):
        each = [[getattr(cost, what) / cost.units for cost in size] for size in sizes]
        ratios = [last / middle for middle, last in zip(*each[1:], strict=True)]
        growth.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return f"| {part}, 1,000 {PARTS[part][1]} | {' | '.join((*seconds, growth[0], *mib, growth[1]))} |"


def head(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n|{' --- |' * len(cells)}"


def main() -> None:
    """Prints both tables, ready for BENCHMARKS.md."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.environ |= {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}  # of the processes to come
    articles = json.loads((data_folder() / WIKI).read_text(encoding="utf-8"))["data"]
    with tempfile.TemporaryDirectory() as folder:
        files = {count: f"{folder}/{count}.json" for count in (FEW, *SIZES)}
        for count, file in files.items():
            Path(file).write_text(json.dumps(many(articles, count)))
        sizes, growth = [f"{count:,}" for count in SIZES], f"{SIZES[2]:,} / {SIZES[1]:,}"
        columns = "CPU ms of", *sizes, growth, *(f"MiB, {size}" for size in sizes), f"of a unit, {growth}"
        print(head(*columns), flush=True)
        for part in PARTS:
            costs = [[in_a_process(part, files[FEW], files[size], size) for size in SIZES] for _ in range(rounds)]
            print(cost_row(part, costs), flush=True)
        console.quiet = True
        data = SquadDataModule(train_file=files[SIZES[2]], cache_dir=folder, max_length=MAX_LENGTH, stride=STRIDE)
        data.prepare_split("train", load_tokenizer(MINILM))
        print("", head(*COLUMNS), sep="\n", flush=True)
        for ranks in RANKS:
            print(rank_row(data, ranks), flush=True)


if __name__ == "__main__":
    door(main)
