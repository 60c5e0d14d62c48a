"""The check of `gpu.py` that compares speeds: this project's steps and evaluations beside the usual way.

The usual way is that of the example scripts: windows padded to 384, bfloat16 by autocast, SDPA, fused AdamW.
"""

import json
import statistics
import time
from typing import Any

import numpy as np
import torch
from torch.nn.functional import pad
from torch.utils.data import DataLoader
from transformers import AutoModelForQuestionAnswering

from bench.gpu_runs import Bench, say
from bench.gpu_steps import training_batches
from bench.usual.training import INPUTS, LABELS, logits, training_steps

LENGTH = 384


def speed(bench: Bench) -> None:
    """Windows a second of training and of evaluation, with dropout, in bf16-mixed; the peak of the memory."""
    rows = features(bench)
    tokens = sum(int(row["attention_mask"].sum()) for row in rows) / len(rows)
    say(None, "speed", f"{tokens:.0f} tokens a window")
    for batch in (16,) if bench.small else (16, 64):
        usual, memory = usual_training(bench, rows, batch)
        say(
            None,
            "speed",
            f"batch {batch}, the usual way: {usual:.0f} windows/s, {memory:.1f} GiB{rate(bench, usual, tokens)}",
        )
        for attention in ("sdpa", "auto"):
            done = bench.train(
                f"speed-{batch}-{attention}", f"model.attention={attention}", f"data.batch_size={batch}",
                f"data.train_file={bench.work}/{'train' if bench.small else 'large'}.json",
                f"trainer.max_steps={bench.steps}", *(() if bench.small else ("trainer.precision=bf16-mixed",)),
            )  # fmt: skip
            own = statistics.median(done.column("windows_per_second")[bench.steps // 2 :] or [0])
            text = f"{own:.0f} windows/s, {done.peak():.1f} GiB, {own / usual:.2f} times the usual way"
            say(
                None, "speed", f"batch {batch}, attention={attention}: {text}{rate(bench, own, tokens)}{done.trouble()}"
            )
    usual = usual_evaluation(bench, rows, 64)
    say(None, "speed", f"evaluation, the usual way: {usual:.0f} windows/s, logits alone")
    for size in (64, 256):
        done = bench.train(
            f"speed-evaluation-{size}", "stage=validate", f"data.eval_batch_size={size}",
            f"data.validation_file={bench.work}/{'train' if bench.small else 'large'}.json",
            *(() if bench.small else ("trainer.precision=bf16-mixed",)),
        )  # fmt: skip
        own = 0.0
        if done.status == 0:
            own = json.loads((done.folder / "results.json").read_text())["windows_per_second"]["validation"]
        say(None, "speed", f"evaluation, batch {size}: {own:.0f} windows/s, answers and all{done.trouble()}")


def rate(bench: Bench, windows: float, tokens: float) -> str:
    """TFLOP/s on real tokens of BERT base: 6 for each of its 85 M weights, and attention's (PaLM, appendix B)."""
    if bench.small:
        return ""
    return f", {windows * tokens * (6 * 85.05e6 + 12 * 12 * 768 * tokens) / 1e12:.0f} TFLOP/s on real tokens"


def features(bench: Bench) -> list[dict[str, torch.Tensor]]:
    """The training windows, padded to LENGTH."""
    batches = training_batches(bench, "train.json" if bench.small else "large.json")
    rows = []
    for row in range(len(batches.windows)):
        window: Any = batches[np.array([row])]
        values = {name: window[name][0] for name in (*INPUTS, *LABELS)}
        rows.append({k: pad(v, (0, LENGTH - len(v))) if v.ndim else v for k, v in values.items()})
    return rows


def usual_training(bench: Bench, rows: list[dict[str, torch.Tensor]], batch: int) -> tuple[float, float]:
    """Windows a second, the median over the later half of the steps, and GiB."""
    model = AutoModelForQuestionAnswering.from_pretrained(bench.work / "model").to(device(bench)).train()
    loader: Any = DataLoader(rows, batch, shuffle=True, pin_memory=not bench.small, drop_last=True)  # type: ignore[arg-type]
    begin, speeds = time.perf_counter(), []
    for _ in training_steps(model, loader, bench.steps, half=not bench.small):
        begin, before = time.perf_counter(), begin
        speeds.append(batch / (begin - before))
    memory = 0.0 if bench.small else torch.cuda.max_memory_allocated() / 2**30
    return statistics.median(speeds[bench.steps // 2 :]), memory


def usual_evaluation(bench: Bench, rows: list[dict[str, torch.Tensor]], batch: int) -> float:
    """Windows a second, logits moved to the host."""
    model = AutoModelForQuestionAnswering.from_pretrained(bench.work / "model").to(device(bench)).eval()
    loader: Any = DataLoader(rows, batch, pin_memory=not bench.small)  # type: ignore[arg-type]
    found = logits(model, loader, half=not bench.small)
    next(found)
    begin = time.perf_counter()
    windows = sum(part.shape[1] for part in found)
    return windows / (time.perf_counter() - begin)


def device(bench: Bench) -> torch.device:
    return torch.device("cpu" if bench.small else "cuda")
