"""The check of `gpu.py` that compares speeds: this project's steps and evaluations beside the usual way.

The usual way is that of the example scripts: windows padded to 384, bfloat16 by autocast, SDPA, fused AdamW.
"""

import json
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from gpu_runs import Bench, say
from gpu_steps import training_batches
from torch.nn.functional import pad
from torch.utils.data import DataLoader
from transformers import AutoModelForQuestionAnswering, get_linear_schedule_with_warmup

LENGTH = 384
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "start_positions", "end_positions")


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
        values = {name: window[name][0] for name in INPUTS}
        rows.append({k: pad(v, (0, LENGTH - len(v))) if v.ndim else v for k, v in values.items()})
    return rows


def usual_training(bench: Bench, rows: list[dict[str, torch.Tensor]], batch: int) -> tuple[float, float]:
    """Windows a second, the median over the later half of the steps, and GiB."""
    device = torch.device("cpu" if bench.small else "cuda")
    model = AutoModelForQuestionAnswering.from_pretrained(bench.work / "model").to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-5, fused=True)
    scheduler = get_linear_schedule_with_warmup(optimizer, 0, bench.steps)
    begin, speeds = time.perf_counter(), []
    for inputs in islice(_forever(rows, batch, not bench.small), bench.steps):
        with torch.autocast(device.type, torch.bfloat16, enabled=not bench.small):
            loss = model(**{k: v.to(device, non_blocking=True) for k, v in inputs.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        loss.item()  # each step is timed, as here the loss of each is logged
        begin, before = time.perf_counter(), begin
        speeds.append(batch / (begin - before))
    memory = 0.0 if bench.small else torch.cuda.max_memory_allocated() / 2**30
    return statistics.median(speeds[bench.steps // 2 :]), memory


def _forever(rows: list[dict[str, torch.Tensor]], batch: int, pin: bool) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        yield from DataLoader(rows, batch, shuffle=True, pin_memory=pin, drop_last=True)  # type: ignore[arg-type]


@torch.inference_mode()
def usual_evaluation(bench: Bench, rows: list[dict[str, torch.Tensor]], batch: int) -> float:
    """Windows a second, logits moved to the host."""
    device = torch.device("cpu" if bench.small else "cuda")
    model = AutoModelForQuestionAnswering.from_pretrained(bench.work / "model").to(device).eval()
    begin = 0.0
    for number, inputs in enumerate(DataLoader(rows, batch, pin_memory=not bench.small)):  # type: ignore[arg-type]
        with torch.autocast(device.type, torch.bfloat16, enabled=not bench.small):
            output = model(**{name: inputs[name].to(device, non_blocking=True) for name in INPUTS[:3]})
        torch.stack([output.start_logits, output.end_logits]).float().cpu()
        if number == 0:
            begin = time.perf_counter()
    return (len(rows) - batch) / (time.perf_counter() - begin)
