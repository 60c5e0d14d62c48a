"""The checks of `gpu.py` in one process: the machine, passes kernel by kernel and as CUDA graphs, and the optimizer.

Milliseconds and rates stand beside what was expected of an H200 before they were measured.
"""

import gc
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from bench.gpu_runs import Bench, milliseconds, rate, say
from qa.data.datamodule import SquadDataModule
from qa.data.epochs.batches import TrainingBatches
from qa.data.windows.tokenizer import load_tokenizer
from qa.model.fast.gradients import FlatGradients
from qa.model.fast.graphs import Graphs
from qa.model.fast.logits import Unpadded
from qa.model.optimization import schedule
from qa.training.checkpoint_files import copy_to_host
from qa.training.devices import seed_device
from qa.training.module import QuestionAnsweringModule

WINDOWS = 16
LAYERS, WEIGHTS = 12, 85.05e6  # of BERT base, the latter in its layers


def new_module(bench: Bench, **settings: Any) -> QuestionAnsweringModule:
    linear = partial(schedule, name="linear", warmup_ratio=0.0)
    adam = partial(torch.optim.Adam, lr=2e-5)
    return QuestionAnsweringModule(str(bench.work / "model"), adam, linear, **settings)


def data(bench: Bench, name: str = "train") -> SquadDataModule:
    """One of the files, cut into windows."""
    module = SquadDataModule(train_file=f"{bench.work}/{name}.json", cache_dir=f"{bench.work}/cache")
    module.prepare_split("train", load_tokenizer(f"{bench.work}/model"))
    return module


def training_batches(bench: Bench, name: str = "train") -> TrainingBatches:
    """Window numbers of one of the files → their batch."""
    return cast(TrainingBatches, data(bench, name).train_dataloader().dataset)


def machine(bench: Bench) -> None:
    """What this GPU can do at most: copies, and the products of a model's layers."""
    header = Path(torch.__file__).parent / "include/ATen/cuda/CUDAContextLight.h"
    clears = header.exists() and "clearCublasWorkspacesForStream" in header.read_text()
    say(None, "machine", f"torch {torch.__version__} frees the room of cuBLAS with a CUDA graph: {clears}")
    if bench.small:
        return
    one = torch.empty(2**28, device=bench.device)
    other = torch.empty_like(one)
    say(None, "machine", f"{2**31 / 1e9 / milliseconds(lambda: one.copy_(other)):.2f} TB/s copied (expected 4.3)")
    square = torch.randn(8192, 8192, dtype=torch.bfloat16, device=bench.device)
    speed = 2 * 8192**3 / 1e9 / milliseconds(lambda: square @ square)
    say(None, "machine", f"{speed:.0f} TFLOP/s of 8192³ (expected 790)")
    for tokens, merged, dtype in product((1408, 2816, 3072), (False, True), (torch.bfloat16, torch.float32)):
        took, floor = LAYERS * milliseconds(layer_products(tokens, merged, dtype)), tokens * 6 * WEIGHTS / 790e9
        text = f"{took:.2f} ms the products of {tokens} tokens, weights' gradients in {dtype}"
        merge = ", query, key and value as one" if merged else ""
        say(None, "machine", f"{text}{merge} (expected {1.3 * floor:.2f}, at least {floor:.2f})")


def layer_products(tokens: int, merged: bool, dtype: torch.dtype) -> Callable[[], None]:
    """All matrix products of one layer's pass, forward and backward; `dtype`: of the weights' gradients."""
    sizes = [(768, 2304)] if merged else [(768, 768)] * 3
    sizes += [(768, 768), (768, 3072), (3072, 768)]
    new = partial(torch.randn, dtype=torch.bfloat16, device="cuda")
    parts = [(new(tokens, size), new(size2, size), new(tokens, size2)) for size, size2 in sizes]

    def products() -> None:
        for states, weight, gradient in parts:
            torch.mm(states, weight.t())
            torch.mm(gradient, weight)
            torch.mm(gradient.t(), states, out_dtype=dtype)

    return products


class Passes:
    """A model in bf16-mixed, without padding, and its batches."""

    def __init__(self, bench: Bench, dropout: float | None) -> None:
        """`dropout`: None: the model's own."""
        self.device = bench.device
        self.module = new_module(bench, dropout=dropout).to(self.device)
        self.module.way = Unpadded(self.module.model, self.module.inputs)
        self.module.trainer = lightning.Trainer(
            accelerator=self.device.type, devices=1, precision="bf16-mixed", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        self.module.trainer.strategy.connect(self.module)
        self.batches = training_batches(bench)

    def batch(self, first: int, windows: int = WINDOWS) -> Any:
        """Some windows, on the device."""
        batch = self.batches[np.arange(first, first + windows)]
        return {key: value.to(self.device) if isinstance(value, Tensor) else value for key, value in batch.items()}

    def new_graphs(self) -> Graphs:
        return Graphs(self.module._pass, FlatGradients(self.module.model))

    def run(self, batch: Any, compiled: Graphs | None = None) -> tuple[Tensor, Tensor]:
        """Losses and the norm of each gradient; by graphs, or kernel by kernel."""
        seed_device(7, self.device)
        (compiled or self.module).zero_grad()
        with self.module.trainer.precision_plugin.train_step_context():
            losses = (compiled or self.module._pass)(batch)
        return losses, torch.stack([p.grad.norm() for p in self.module.parameters() if p.grad is not None])

    def broken(self, norms: Tensor) -> str:
        """The parameters whose gradients are not finite."""
        names = [name for name, _ in self.module.named_parameters()]
        return ", ".join(name for name, good in zip(names, norms.isfinite().tolist(), strict=True) if not good)


def graphs(bench: Bench) -> None:
    """A pass as a graph has the losses and gradients of the same pass without, and reads nothing unwritten."""
    one = Passes(bench, 0.0)
    if bench.small:
        losses, norms = one.run(one.batch(0))
        say(bool(losses.isfinite().all() and norms.isfinite().all()), "graphs", "no GPU: a pass kernel by kernel")
        return
    torch.use_deterministic_algorithms(True, warn_only=True)  # memory is NaN at first, also within graphs
    _compare(one, "unwritten memory is NaN", 40)
    torch.use_deterministic_algorithms(False)
    _compare(one, "the pool is NaN", 40, poison=True)
    _repeat(one)
    first, second, batch = one.new_graphs(), one.new_graphs(), one.batch(0)
    for compiled in (first, first, second, second):
        expected = one.run(batch, compiled)
    del first, compiled
    gc.collect()
    torch.cuda.empty_cache()
    filled = [torch.full((2**28,), torch.nan, device=one.device) for _ in range(8)]
    found = one.run(batch, second)
    equal = all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    say(equal, "graphs", f"a graph after those of another fit are gone, {len(filled)} GiB of NaN: equal {equal}")
    _compare(Passes(bench, None), "with dropout", 20)


def _compare(one: Passes, name: str, batches: int, poison: bool = False) -> None:
    """Compares passes by graphs with those without; `poison`: fills their memory with NaN before each."""
    compiled, equal, worst, broken = one.new_graphs(), 0, 0.0, Counter[str]()
    poisoned = _poison(compiled) if poison else None
    for number in range(batches):
        batch = one.batch(WINDOWS * (number % 20))
        losses, norms = one.run(batch)
        if poisoned:
            poisoned.replay()
        losses2, norms2 = one.run(batch, compiled)
        equal += torch.equal(losses, losses2)
        worst = max(worst, float(((norms - norms2).abs() / norms).max()))
        kind = "replay" if compiled.replayed else "kernel by kernel"
        broken.update(f"{way}: {found}" for way, n in (("eager", norms), (kind, norms2)) if (found := one.broken(n)))
    text = f"{name}: losses equal in {equal} of {batches} batches, norms differ by {worst:.1e}"
    say(equal == batches and worst < 1e-5 and not broken, "graphs", f"{text}, not finite: {dict(broken) or 'none'}")


def _poison(compiled: Graphs) -> torch.cuda.CUDAGraph:
    """A graph of the same pool that leaves NaN in all that it gives back, which the graphs after it get."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=compiled._pool, stream=compiled._stream):
        blocks = [torch.full((2**power,), torch.nan, device="cuda") for power in range(8, 28) for _ in range(6)]
        del blocks
    return graph


def _repeat(one: Passes) -> None:
    """How often the gradients of the same batch are not finite."""
    batch, compiled = one.batch(0), one.new_graphs()
    one.run(batch, compiled)
    for name, way, times in (("replays", compiled, 1000), ("passes kernel by kernel", None, 500)):
        finite = [one.run(batch, way)[1].isfinite().all() for _ in range(times)]
        count = int(torch.stack(finite).sum())
        say(count == times, "graphs", f"finite in {count} of {times} {name} of one batch")


def passes(bench: Bench) -> None:
    """Milliseconds of passes, and their kernels."""
    one = Passes(bench, None)
    batch = one.batch(0)
    say(None, "passes", f"{milliseconds(lambda: one.run(batch), 5):.1f} ms kernel by kernel{bench.expected(28)}")
    if bench.small:
        return
    compiled = one.new_graphs()
    for windows, expected in ((16, 10.4), (32, 17.0), (64, 31.0), (128, 61.0)):
        batch = one.batch(0, windows)
        for _ in range(2):
            one.run(batch, compiled)
        took = milliseconds(lambda batch=batch: compiled(batch))  # type: ignore[misc]
        tokens = int(batch["lengths"].sum())
        speed = 1e3 * windows / took
        text = f"{took:.1f} ms a pass of {windows} windows, {tokens} tokens{bench.expected(expected)}"
        say(None, "passes", f"{text}: {speed:.0f} windows/s{rate(bench, speed, tokens / windows)}")
    batch = one.batch(0)
    _kernels(lambda: compiled(batch))


def _kernels(part: Callable[[], Any]) -> None:
    """The 40 kernels that take most."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        part()
        torch.cuda.synchronize()
    kernels = sorted(profiler.key_averages(), key=lambda kernel: -kernel.self_device_time_total)
    say(None, "passes", f"{sum(k.count for k in kernels)} kernels a pass of {WINDOWS} windows (expected 1463)")
    for kernel in kernels[:40]:
        mean = kernel.self_device_time_total / kernel.count
        say(None, "passes", f"{kernel.count} times {mean:.1f} µs {kernel.key[:90]}")


def micro(bench: Bench) -> None:
    """Milliseconds of the rest of a step, and of a checkpoint."""

    def took(name: str, part: Callable[[], Any], expected: float = 0.0, times: int = 5 if bench.small else 30) -> None:
        say(None, "micro", f"{milliseconds(part, times):.3f} ms {name}{bench.expected(expected)}")

    module = new_module(bench).to(bench.device)
    flat, parameters = FlatGradients(module.model), list(module.parameters())
    flat.flat.normal_()
    million = sum(parameter.numel() for parameter in parameters) / 1e6
    took("zeroing", lambda: flat.zero_grad(), 0.17)
    adam: Any = torch.optim.Adam(parameters, 0.0, fused=True)
    took(f"Adam, fused, {million:.0f} M", adam.step, 1.6)
    adam.grad_scale, adam.found_inf = (torch.full((), value, device=bench.device) for value in (1.0, 0.0))
    took("Adam, fused, that clips and skips", adam.step, 1.75)
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    took("norm", lambda: torch.nn.utils.get_total_norm(gradients), 0.45)
    took("norm of one tensor", lambda: flat.flat.norm(), 0.17)
    took("clip", lambda: torch.nn.utils.clip_grads_with_norm_(parameters, 1.0, norm), 0.45)
    batches = training_batches(bench)
    took("a batch of 16 windows", lambda: batches[np.arange(16)])
    state = {"model": module.state_dict(), "optimizer": adam.state_dict()}
    took("its tensors, copied to the host", lambda: tree_map_only(Tensor, copy_to_host, state), 80, 3)
    path = bench.work / "weights.pt"
    took(f"a checkpoint of {12 * million / 1e3:.1f} GB saved", lambda: torch.save(state, path), 2500, 1)
    took("and loaded", lambda: torch.load(path, map_location="cpu", weights_only=True), 1500, 1)
