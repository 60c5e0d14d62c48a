"""Runs train.py on what `gpu.py` has made, and reports the result."""

import csv
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).parent.parent
GLOO = "trainer.strategy={_target_:lightning.pytorch.strategies.DDPStrategy,process_group_backend:gloo}"


class Done(NamedTuple):
    """A run of train.py that has ended."""

    status: int
    stderr: str
    seconds: float
    folder: Path

    def column(self, name: str) -> list[float]:
        """A column of metrics.csv, by step."""
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        with path.open() as file:
            return [float(row[name]) for row in csv.DictReader(file) if row["loss"]]

    def speed(self) -> str:
        """The median over the later half of the steps."""
        speeds = self.column("windows_per_second")
        return f"{statistics.median(speeds[len(speeds) // 2 :] or [0]):.0f} windows/s"

    def peak(self) -> float:
        """GiB."""
        return max(self.column("memory_gib"), default=0.0)

    def clean(self, steps: int) -> bool:
        """Whether it exited with 0, wrote nothing to stderr, and took so many steps."""
        return self.status == 0 and not self.stderr and len(self.column("loss")) == steps

    def trouble(self) -> str:
        lines = self.stderr.strip().splitlines()
        return f", status {self.status}: {lines[-1][:300]}" if lines else ""


class Bench:
    """Runs train.py on what `gpu.py` has made."""

    def __init__(self, work: Path, small: bool) -> None:
        self.work, self.small = work, small
        self.steps = 6 if small else 60
        self.free = 20000 + os.getpid() * 16 % 10000  # ports, one after another
        self.half = () if small else ("trainer.precision=bf16-mixed",)
        self.largest = "train" if small else "large"  # the file with most questions

    @property
    def device(self) -> "torch.device":
        import torch  # which this script does without where it only starts others

        return torch.device("cpu") if self.small else torch.device("cuda", 0)

    def expected(self, value: float) -> str:
        """What an H200 was expected to take or give; nothing where there is none, or no expectation."""
        return f" (expected {value:g})" if value and not self.small else ""

    def command(self, name: str, model: str, *more: str, launcher: tuple[str, ...] = ()) -> list[str]:
        """The arguments that run train.py in a folder of that name."""
        work = self.work
        return [
            sys.executable, *launcher, str(ROOT / "train.py"), "data=local", f"data.train_file={work}/train.json",
            f"data.validation_file={work}/validation.json", f"data.cache_dir={work}/cache", "logger=csv",
            f"model.pretrained={work}/{model.replace('exact', 'model')}", f"hydra.run.dir={work}/runs/{name}",
            "trainer.max_epochs=1", *(["model.dropout=0.0"] if model == "exact" else []),
            *(["trainer.accelerator=cpu"] if self.small else []), *more,
        ]  # fmt: skip

    def train(
        self,
        name: str,
        *more: str,
        model: str = "model",
        launcher: tuple[str, ...] = (),
        keep: bool = False,
        **env: str,
    ) -> Done:
        """`python train.py …`; `exact` is the model without dropout. `keep`: the checkpoints, of 2 GB each."""
        command = self.command(name, model, *more, launcher=launcher)
        begin = time.monotonic()
        environment = {**os.environ, **({"OMP_NUM_THREADS": "1"} if self.small else {}), **env}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        folder = self.work / "runs" / name
        folder.parent.mkdir(exist_ok=True)
        with folder.with_name(f"{name}.stderr").open("a") as file:
            file.write(done.stderr)
        if not keep:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return Done(done.returncode, done.stderr, time.monotonic() - begin, folder)

    def torchrun(self, nodes: int = 1, node: int = 0) -> tuple[str, ...]:
        """Starts one process by torchrun; several of them are the ranks of a run on this one GPU."""
        return (
            "-m", "torch.distributed.run", f"--nnodes={nodes}", f"--node_rank={node}", "--nproc_per_node=1",
            "--master_addr=127.0.0.1", f"--master_port={self.free}",
        )  # fmt: skip

    def two(self, name: str, *more: str, limited: dict[str, str]) -> list[Done]:
        """Two ranks on this one GPU, by gloo, as NCCL takes one rank a GPU. `limited`: memory of the second rank."""
        self.free += 1

        def rank(node: int) -> Done:
            env = limited if node else {}
            launcher = self.torchrun(2, node)
            return self.train(name, *more, GLOO, model="exact", launcher=launcher, keep=True, **env)

        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(rank, (0, 1)))
        shutil.rmtree(both[0].folder / "checkpoints", ignore_errors=True)
        return both


def wait() -> None:
    """Waits for the GPU, where there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def milliseconds(part: Callable[[], Any], times: int = 20) -> float:
    """What a part takes, after a first time."""
    part()
    wait()
    begin = time.perf_counter()
    for _ in range(times):
        part()
    wait()
    return 1e3 * (time.perf_counter() - begin) / times


def say(good: bool | None, check: str, text: str) -> None:
    print(f"{'INFO' if good is None else 'PASS' if good else 'FAIL'} {check}: {text}", flush=True)


def rate(bench: Bench, windows: float, tokens: float) -> str:
    """TFLOP/s on real tokens of BERT base: 6 for each of its 85 M weights, and attention's (PaLM, appendix B)."""
    if bench.small:
        return ""
    return f", {windows * tokens * (6 * 85.05e6 + 12 * 12 * 768 * tokens) / 1e12:.0f} TFLOP/s on real tokens"


def difference(one: list[float], other: list[float]) -> float:
    """The largest difference between two lists of losses; infinite where a step is missing."""
    if len(one) != len(other) or not one:
        return float("inf")
    return max(abs(a - b) for a, b in zip(one, other, strict=True))
