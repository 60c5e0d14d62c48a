"""The checks of `gpu.py` that look into a training step: when the host waits for the GPU, and what the parts take."""

import time
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch

from bench.gpu_runs import Bench, say
from qa.console import console
from qa.data.datamodule import SquadDataModule
from qa.data.epochs.batches import TrainingBatches
from qa.data.windows.tokenizer import load_tokenizer, pair_template
from qa.model.optimization import schedule
from qa.tracking.metrics_file import MetricsFile
from qa.training.callbacks import Metrics
from qa.training.checkpoint_files import CheckpointFiles
from qa.training.devices import seed_device
from qa.training.history import History
from qa.training.module import QuestionAnsweringModule

FIRST, LAST = 3, 6  # steps that are profiled, in the small form
WAITS = 1  # times that the host may wait in a step, beside the capture of a CUDA graph


class Looked(lightning.Callback):
    """Profiles some steps, from the start of the first to the start of the one after the last."""

    def __init__(self, begin: Callable[[], Any], end: Callable[[], Any], steps: tuple[int, int]) -> None:
        self.begin, self.end, self.steps, self.seconds = begin, end, steps, 0.0

    def on_train_batch_start(self, trainer: Any, module: Any, *_: Any) -> None:
        if trainer.global_step == self.steps[0]:
            _wait(module.device)
            self.begin()
            self.seconds = time.perf_counter()
        if trainer.global_step == self.steps[1]:
            _wait(module.device)
            self.seconds = time.perf_counter() - self.seconds
            self.end()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def training_batches(bench: Bench, name: str = "train.json") -> TrainingBatches:
    """Window numbers of one of the files → their batch."""
    data = SquadDataModule(train_file=str(bench.work / name), cache_dir=str(bench.work / "cache"))
    tokenizer = load_tokenizer(str(bench.work / "model"))
    data.prepare_split("train", tokenizer)
    return TrainingBatches(data.splits["train"].windows, data.splits["train"].examples, pair_template(tokenizer))


def fit(bench: Bench, begin: Callable[[], Any], end: Callable[[], Any]) -> Looked:
    """A fit in bf16-mixed as train.py runs it, some of whose steps are profiled."""
    work = bench.work
    steps = (FIRST, LAST - 1) if bench.small else (20, 40)
    data = SquadDataModule(train_file=str(work / "train.json"), cache_dir=str(work / "cache"))
    data.prepare_split("train", load_tokenizer(str(work / "model")))
    steps_per_epoch = data.batch_count()
    linear = partial(schedule, name="linear", warmup_ratio=0.0)
    adam = partial(torch.optim.Adam, lr=2e-5)
    module = QuestionAnsweringModule(str(work / "model"), adam, linear, total_steps=steps_per_epoch)
    (work / "steps").mkdir(exist_ok=True)
    looked = Looked(begin, end, steps)
    history = History(CheckpointFiles(work / "steps"), steps_per_epoch, identity={})
    trainer = lightning.Trainer(
        accelerator="cpu" if bench.small else "gpu", devices=1, precision="bf16-mixed", max_epochs=1,
        gradient_clip_val=1.0, callbacks=[looked, Metrics(), history], limit_val_batches=0,
        limit_train_batches=steps[1] + 1, logger=MetricsFile(str(work / "steps" / "metrics.csv")),
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return looked


def reads(bench: Bench) -> None:
    """How often the host waits for the GPU in a step, and the share of the time in which the GPU computes."""
    console.quiet = True
    found: list[Any] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gpu = torch.cuda.is_available() and not bench.small

        def mode(name: str) -> None:
            found.extend(warning for warning in caught if "synchroniz" in str(warning.message))
            caught.clear()
            if gpu:
                torch.cuda.set_sync_debug_mode(name)

        def begin() -> None:
            mode("warn")
            found.clear()  # those of the steps before

        fit(bench, begin, lambda: mode("default"))
    steps = 20
    if not gpu:
        say(None, "reads", "no GPU: that the steps run is all that was looked at")
        return
    found = [warning for warning in found if not warning.filename.endswith("torch/cuda/__init__.py")]
    places = Counter(f"{Path(warning.filename).name}:{warning.lineno}" for warning in found)
    each = ", ".join(f"{place} {count / steps:.1f}" for place, count in places.most_common(8))
    text = f"the host waits {len(found) / steps:.1f} times a step ({each or 'nowhere'})"
    say(len(found) <= WAITS * steps, "reads", text)
    activities = [torch.profiler.ProfilerActivity.CUDA]
    profiler = torch.profiler.profile(activities=activities)
    looked = fit(bench, profiler.start, profiler.stop)
    kernels = sorted(profiler.key_averages(), key=lambda kernel: -kernel.self_device_time_total)
    busy = sum(kernel.self_device_time_total for kernel in kernels) / 1e6
    say(
        None,
        "reads",
        f"bf16-mixed: {1e3 * looked.seconds / steps:.1f} ms a step, the GPU computes {busy / looked.seconds:.0%}",
    )
    for kernel in kernels[:6]:
        say(None, "reads", f"{kernel.self_device_time_total / 1e3 / steps:.2f} ms a step: {kernel.key[:90]}")


def micro(bench: Bench) -> None:
    """Milliseconds of the parts of a step."""
    device = torch.device("cpu") if bench.small else torch.device("cuda", 0)

    def took(name: str, part: Callable[[], Any], times: int = 5 if bench.small else 30) -> None:
        part()
        _wait(device)
        begin = time.perf_counter()
        for _ in range(times):
            part()
        _wait(device)
        say(None, "micro", f"{1e3 * (time.perf_counter() - begin) / times:.3f} ms {name}")

    linear = partial(schedule, name="linear", warmup_ratio=0.0)
    module = QuestionAnsweringModule(str(bench.work / "model"), torch.optim.Adam, linear).to(device)
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    million = sum(parameter.numel() for parameter in parameters) / 1e6
    took(f"Adam, foreach, {million:.0f} M", torch.optim.Adam(parameters, 0.0, foreach=True).step)
    took(f"Adam, fused, {million:.0f} M", torch.optim.Adam(parameters, 0.0, fused=True).step)
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    took("norm", lambda: torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    took("clip", lambda: torch.nn.utils.clip_grads_with_norm_(parameters, 1.0, norm))
    took("no_gradients", module.no_gradients)
    took("torch.manual_seed", lambda: torch.manual_seed(1))
    took("seed_device", lambda: seed_device(1, device))
    if device.type == "cuda":
        took("max_memory_allocated", lambda: torch.cuda.max_memory_allocated(device))
    batches = training_batches(bench)
    took("a batch of 16 windows", lambda: batches[np.arange(16)])
    file = MetricsFile(str(bench.work / "micro.csv"))
    took("a line of metrics.csv", lambda: file.log_metrics({"loss": 1.0, "learning_rate": 1e-5}, 1))
    path = bench.work / "weights.pt"
    took(
        f"torch.save, {sum(4 * p.numel() for p in parameters) / 1e9:.2f} GB",
        lambda: torch.save(module.state_dict(), path),
        2,
    )
