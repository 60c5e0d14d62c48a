"""The checks of `gpu.py` on passes without padding, kernel by kernel and as CUDA graphs."""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.gpu_runs import Bench, say
from bench.gpu_speed import rate
from bench.gpu_steps import training_batches
from qa.model.fast.graphs import Graphs
from qa.model.fast.unpadded import UNPADDED
from qa.model.optimization import schedule
from qa.training.module import QuestionAnsweringModule

WINDOWS = 16
KINDS = {
    "matrix products": ("nvjet", "gemm"), "attention": ("flash",), "casts and copies": ("copy",),
    "additions": ("CUDAFunctor_add",), "sums for biases": ("sum_functor",), "layer norms": ("layer_norm", "GammaBeta"),
    "GELU": ("Gelu",), "dropout": ("dropout", "masked_scale"), "embeddings": ("embedding", "gather"),
}  # fmt: skip


class Passes:
    """A model on the GPU, without padding, and its batches."""

    def __init__(self, bench: Bench, model: str) -> None:
        linear = partial(schedule, name="linear", warmup_ratio=0.0)
        self.device = torch.device("cuda", 0)
        self.module = QuestionAnsweringModule(str(bench.work / model), torch.optim.Adam, linear).to(self.device)
        self.module.model.set_attn_implementation(UNPADDED)
        self.parameters = list(self.module.parameters())
        self.batches = training_batches(bench)

    def batch(self, first: int, windows: int = WINDOWS) -> Any:
        """Some windows, on the GPU."""
        batch = self.batches[np.arange(first, first + windows)]
        return {key: value.to(self.device) if isinstance(value, Tensor) else value for key, value in batch.items()}

    def eager(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Losses and the norm of each parameter's gradient."""
        self.module.zero_grad()
        return self.module._graph_pass(batch), self.norms()

    def norms(self) -> Tensor:
        return torch.stack([parameter.grad.norm() for parameter in self.parameters if parameter.grad is not None])


def graphs(bench: Bench) -> None:
    """A pass as a graph has the losses and gradients of the same pass without; milliseconds of passes."""
    if bench.small:
        say(None, "graphs", "no GPU: nothing was looked at")
        return
    one = Passes(bench, "exact")
    compiled = Graphs(one.module._graph_pass, one.parameters)
    equal, finite, worst, batches = 0, 0, 0.0, 20
    for number in range(batches):
        batch = one.batch(WINDOWS * number)
        _poison(one.device)
        losses, norms = one.eager(batch)
        _poison(one.device)
        compiled.zero_gradients()
        losses2, norms2 = compiled(batch), one.norms()
        equal += torch.equal(losses, losses2)
        finite += bool(norms.isfinite().all() and norms2.isfinite().all())
        worst = max(worst, float(((norms - norms2).abs() / norms).max()))
    text = f"losses equal in {equal} of {batches} batches, gradients finite in {finite}, norms differ by {worst:.1e}"
    say(equal == finite == batches and worst < 1e-5, "graphs", text)
    _timed(bench, Passes(bench, "model"))


def _timed(bench: Bench, one: Passes) -> None:
    compiled = Graphs(one.module._graph_pass, one.parameters)
    batch = one.batch(0)
    say(None, "graphs", f"{_milliseconds(lambda: one.module._graph_pass(batch)):.1f} ms a pass of 16 windows, no graph")
    for windows in (16, 32, 64, 128):
        batch = one.batch(0, windows)
        compiled(batch)
        took = _milliseconds(lambda batch=batch: compiled(batch))  # type: ignore[misc]
        tokens = int(batch["lengths"].sum())
        speed = 1e3 * windows / took
        text = f"{took:.1f} ms a pass of {windows} windows, {tokens} tokens: {speed:.0f} windows/s"
        say(None, "graphs", text + rate(bench, speed, tokens / windows))
    batch = one.batch(0)
    say(None, "graphs", _shares(lambda: compiled(batch)))
    one.module.eval()
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        for windows in (64, 256):
            batch = one.batch(0, windows)
            took = _milliseconds(lambda batch=batch: one.module(batch))  # type: ignore[misc]
            say(None, "graphs", f"{took:.1f} ms a forward pass of {windows}: {1e3 * windows / took:.0f} windows/s")


def _shares(part: Callable[[], Any]) -> str:
    """How many kernels a pass has, and what share of their time each kind takes."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        part()
        torch.cuda.synchronize()
    kernels = profiler.key_averages()
    shares: Counter[str] = Counter()
    for kernel in kernels:
        kind = next((kind for kind, words in KINDS.items() if any(word in kernel.key for word in words)), "others")
        shares[kind] += kernel.self_device_time_total
    each = ", ".join(f"{kind} {took / shares.total():.0%}" for kind, took in shares.most_common())
    return f"{sum(kernel.count for kernel in kernels)} kernels a pass of {WINDOWS} windows: {each}"


def _milliseconds(part: Callable[[], Any], times: int = 20) -> float:
    part()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(times):
        part()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - begin) / times


def _poison(device: torch.device) -> None:
    """Leaves NaN in the memory that is free, so that whoever reads what was never written is found."""
    blocks = [torch.full((2**28,), torch.nan, device=device) for _ in range(8)]
    blocks += [torch.full((2**power,), torch.nan, device=device) for power in range(8, 24) for _ in range(6)]
    torch.cuda.synchronize()
    del blocks
