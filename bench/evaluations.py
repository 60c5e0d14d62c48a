"""Seconds and memory of an evaluation of many questions, from logits to the page; without the model.

python -m bench.evaluations [10000 100000]

Each size has a process of its own. Logits are random, and each question has a context of its own.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from qa.data.epochs.batches import EvaluationBatch
from qa.data.example import Example, ReferenceAnswer
from qa.evaluation.collect import collect, evaluate_batch
from qa.memory import peak_resident_memory
from qa.review.report import RunReport
from qa.review.run_page import write_page
from qa.runs.folder import RunFolder
from qa.runs.predictions import write_predictions
from qa.runs.results import PerSplit, Results
from qa.storage import write_text

BATCH, LENGTH, N_BEST, LONGEST = 16, 256, 20, 30
WORDS = "the bridge was built of grey stone and in that year a flood took two of its arches away again".split()  # noqa: SIM905


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Prints a line: CPU seconds of this part, the process's memory after it and the most it ever had, in MiB."""
    begin = time.process_time()  # wall time would depend on other programs
    yield
    seconds = time.process_time() - begin
    now = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    print(f"{name:<34} {seconds:8.1f} {now:10,.0f} {peak_resident_memory() * 2**10:10,.0f}", flush=True)


def examples(count: int) -> dict[str, Example]:
    """Questions with contexts of 120 words and one answer each."""
    generator = np.random.default_rng(0)
    made = {}
    for number in range(count):
        words = [WORDS[row] for row in generator.integers(len(WORDS), size=120)]
        context = f"{number} {' '.join(words)}"
        answer = ReferenceAnswer(text=words[0], answer_start=len(str(number)) + 1)
        name = f"{number:024x}"
        made[name] = Example(id=name, question=f"What of {number}?", context=context, answers=(answer,))
    return made


def batches(
    asked: dict[str, Example],
) -> Iterator[tuple[tuple[torch.Tensor, torch.Tensor], EvaluationBatch, torch.Tensor]]:
    """Logits, batch and losses of windows of which every fifth question has two."""
    names = list(asked)
    windows = [name for row, name in enumerate(names) for _ in range(2 if row % 5 == 0 else 1)]
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
    mask[:, 16 : LENGTH - 1] = True
    starts = (np.arange(LENGTH) - 16).clip(0) * 2
    offsets = np.stack([starts, starts + 2], axis=1).astype(np.int32)[None].repeat(BATCH, axis=0)
    for first in range(0, len(windows), BATCH):
        ids = windows[first : first + BATCH]
        size = len(ids)
        logits = torch.randn(2, size, LENGTH, generator=generator)
        rows = np.arange(first, first + size)
        batch = EvaluationBatch(rows=rows, ids=ids, context_mask=mask[:size], offsets=offsets[:size])
        yield (logits[0], logits[1]), batch, torch.rand(size, generator=generator)


def measure(count: int) -> None:
    """All stages of an evaluation of `count` questions."""
    print(f"\n{count:,} questions{'':<16} CPU seconds    MiB now   MiB most")
    with stage("make the questions"):
        asked = examples(count)
    with stage("logits → spans of each window"):
        parts = [evaluate_batch(logits, batch, losses, N_BEST, LONGEST) for logits, batch, losses in batches(asked)]
    with stage("spans → answers, EM and F1"):
        evaluation = collect(parts, asked, N_BEST)
        parts.clear()
        figures = evaluation.figures()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with stage("write predictions, n-best, rows"):
            write_predictions(folder, evaluation)
        del evaluation
        results = Results(
            epochs=[], best=None, windows=PerSplit(), examples=PerSplit(validation=count),
            windows_per_second=PerSplit(), devices=1, about={"model": f"random, EM {figures['exact_match']:.1f}"},
        )  # fmt: skip
        write_text(folder / "results.json", results.model_dump_json())
        with stage("write the page"):
            write_page(RunReport.read(RunFolder(folder)))
        for path in sorted(folder.iterdir()):
            print(f"{path.name:<34} {path.stat().st_size / 2**20:8.1f} MiB")


if __name__ == "__main__":
    if os.environ.get("QA_BENCH"):
        measure(int(sys.argv[1]))
    else:
        for size in sys.argv[1:] or ["10000", "100000"]:
            command = [sys.executable, "-m", "bench.evaluations", size]
            subprocess.run(command, env={**os.environ, "QA_BENCH": "one"}, check=True)
