"""The checks of `gpu.py` on whole steps: when the host waits, how long the GPU idles, and speeds beside the usual way.

The usual way is that of the example scripts: windows padded to 384, bfloat16 by autocast, SDPA, fused AdamW.
"""

import json
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.nn.functional import pad
from torch.utils.data import DataLoader
from transformers import AutoModelForQuestionAnswering

from bench.gpu_parts import data, new_module, training_batches
from bench.gpu_runs import Bench, rate, say, wait
from bench.usual.training import INPUTS, LABELS, training_steps
from qa.console import console
from qa.tracking.metrics_file import MetricsFile
from qa.training.callbacks import Metrics
from qa.training.checkpoint_files import CheckpointFiles
from qa.training.history import History

LENGTH = 384


class Looked(lightning.Callback):
    """Profiles some steps, from the start of the first to the start of the one after the last."""

    def __init__(self, begin: Callable[[], Any], end: Callable[[], Any], steps: tuple[int, int]) -> None:
        self.begin, self.end, self.steps, self.seconds = begin, end, steps, 0.0

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.steps[0]:
            wait()
            self.begin()
            self.seconds = time.perf_counter()
        if trainer.global_step == self.steps[1]:
            wait()
            self.seconds = time.perf_counter() - self.seconds
            self.end()


def fit(bench: Bench, begin: Callable[[], Any], end: Callable[[], Any]) -> float:
    """A fit in bf16-mixed as train.py runs it, some of whose steps are profiled: milliseconds of each of these."""
    folder, steps = bench.work / "steps", (3, 5) if bench.small else (40, 60)
    folder.mkdir(exist_ok=True)
    split = data(bench)
    steps_per_epoch = split.batch_count()
    looked = Looked(begin, end, steps)
    history = History(CheckpointFiles(folder), steps_per_epoch, identity={})
    trainer = lightning.Trainer(
        accelerator=bench.device.type, devices=1, precision="bf16-mixed", max_epochs=1, gradient_clip_val=1.0,
        callbacks=[looked, Metrics(), history], limit_val_batches=0, limit_train_batches=steps[1] + 1,
        logger=MetricsFile(str(folder / "metrics.csv")), enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(new_module(bench), datamodule=split)
    return 1e3 * looked.seconds / (steps[1] - steps[0])


def reads(bench: Bench) -> None:
    """How often the host waits for the GPU in a step, and the share of the time in which the GPU computes."""
    console.quiet = True
    found: list[Any] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        def mode(name: str) -> None:
            found.extend(warning for warning in caught if "synchroniz" in str(warning.message))
            caught.clear()
            if not bench.small:
                torch.cuda.set_sync_debug_mode(name)

        def begin() -> None:
            mode("warn")
            found.clear()  # those of the steps before

        fit(bench, begin, lambda: mode("default"))
    if bench.small:
        say(None, "reads", "no GPU: that the steps run is all that was looked at")
        return
    steps = 20
    found = [warning for warning in found if not warning.filename.endswith("torch/cuda/__init__.py")]
    places = Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in found)
    each = ", ".join(f"{place} {count / steps:.1f}" for place, count in places.most_common(8))
    text = f"the host waits {len(found) / steps:.1f} times a step ({each or 'nowhere'})"
    say(not found, "reads", text)  # beside the event of the step before, behind which Adam runs
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
    took = fit(bench, profiler.start, profiler.stop)
    busy = sum(kernel.self_device_time_total for kernel in profiler.key_averages()) / 1e3 / steps
    text = f"bf16-mixed: {took:.1f} ms a step (expected 12.5), the GPU computes {busy / took:.0%} (expected 99%)"
    say(None, "reads", f"{text} and idles {took - busy:.1f} ms (expected 0.1)")


def speed(bench: Bench) -> None:
    """Windows a second of training, with dropout, in bf16-mixed, between two runs of the usual way; and memory."""
    rows = features(bench)
    tokens = sum(int(row["attention_mask"].sum()) for row in rows) / len(rows)
    say(None, "speed", f"{tokens:.0f} tokens a window")
    steps, skipped = (6, 3) if bench.small else (400, 100)
    for batch, expected in ((16, 1150),) if bench.small else ((16, 1150), (64, 1790)):
        before, memory = usual_training(bench, rows, batch)
        done = bench.train(
            f"speed-{batch}", f"data.batch_size={batch}", f"data.train_file={bench.work}/{bench.largest}.json",
            f"trainer.max_steps={steps}", "trainer.max_epochs=99", *bench.half,
        )  # fmt: skip
        speeds = done.column("windows_per_second")[skipped:] or [0.0]
        usual = (before + usual_training(bench, rows, batch)[0]) / 2
        say(None, "speed", f"batch {batch}, usual: {usual:.0f} windows/s, {memory:.1f} GiB{rate(bench, usual, tokens)}")
        own, mean = statistics.median(speeds), len(speeds) / sum(1 / max(speed, 1e-9) for speed in speeds)
        text = f"batch {batch}: {own:.0f} windows/s in the middle{bench.expected(expected)}, {mean:.0f} in the mean,"
        text += f" {done.peak():.1f} GiB, {own / usual:.2f} times the usual way"
        say(None, "speed", text + rate(bench, own, tokens) + done.trouble())


def evaluation(bench: Bench) -> None:
    """Windows a second of evaluations, answers and all."""
    for size, expected in ((64, 3400),) if bench.small else ((16, 1200), (64, 3400), (256, 3500)):
        file = f"data.validation_file={bench.work}/{bench.largest}.json"
        done = bench.train(f"evaluation-{size}", "stage=validate", f"data.eval_batch_size={size}", file, *bench.half)
        own = 0.0
        if done.status == 0:
            own = json.loads((done.folder / "results.json").read_text())["windows_per_second"]["validation"]
        say(None, "evaluation", f"batch {size}: {own:.0f} windows/s{bench.expected(expected)}{done.trouble()}")


def features(bench: Bench) -> list[dict[str, torch.Tensor]]:
    """The training windows, padded to LENGTH."""
    batches = training_batches(bench, bench.largest)
    rows = []
    for row in range(len(batches.windows)):
        window: Any = batches[np.array([row])]
        values = {name: window[name][0] for name in (*INPUTS, *LABELS)}
        rows.append({k: pad(v, (0, LENGTH - len(v))) if v.ndim else v for k, v in values.items()})
    return rows


def usual_training(bench: Bench, rows: list[dict[str, torch.Tensor]], batch: int) -> tuple[float, float]:
    """Windows a second, the median over the later half of 150 steps, and GiB."""
    model = AutoModelForQuestionAnswering.from_pretrained(bench.work / "model").to(bench.device).train()
    loader: Any = DataLoader(rows, batch, shuffle=True, pin_memory=not bench.small, drop_last=True)  # type: ignore[arg-type]
    begin, speeds = time.perf_counter(), []
    for _ in training_steps(model, loader, 6 if bench.small else 150, half=not bench.small):
        begin, before = time.perf_counter(), begin
        speeds.append(batch / (begin - before))
    memory = 0.0 if bench.small else torch.cuda.max_memory_allocated() / 2**30
    return statistics.median(speeds[len(speeds) // 2 :]), memory
