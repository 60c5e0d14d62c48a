"""CPU time of commands that do not train, relative to `import torch`: python -m bench.startup [ROUNDS]

Each command runs in turn, ROUNDS times (5); printed are the median seconds of CPU and the ratio to `import torch`.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TRAIN = [sys.executable, str(ROOT / "train.py")]
WRONG = ("data.batch_size", "model.attention", "optimizer.lr", "trainer.max_epochs", "checkpoint.keep")


def first_commands(folder: Path) -> tuple[list[str], dict[str, list[str]]]:
    """A run's words, without its seed and folder, and {name: words} of commands that need one finished run."""
    subprocess.run([sys.executable, "-m", "qa.demo", str(folder)], cwd=ROOT, check=True, capture_output=True)
    fit = [
        "data=local", f"data.train_file={folder}/train.json", f"data.validation_file={folder}/validation.json",
        "data.limit=8", "data.max_length=64", "data.stride=16", "model=minilm", "trainer.max_epochs=1",
        "trainer.accelerator=cpu", "logger=csv",
    ]  # fmt: skip
    run = [*TRAIN, *fit, "seed=1", f"hydra.run.dir={folder}/run"]
    subprocess.run(run, cwd=folder, check=True, capture_output=True)
    wrong = {key: [*TRAIN, *fit, f"{key}=abc", f"hydra.run.dir={folder}/no"] for key in WRONG}
    return fit, {
        "import torch": [sys.executable, "-c", "import torch"],
        **{f"a wrong value: {key}=abc": words for key, words in wrong.items()},
        "a finished run": run,
        "a run of one step": [*TRAIN, *fit, "trainer.max_steps=1", "resume=never", f"hydra.run.dir={folder}/first"],
    }


def commands(folder: Path) -> dict[str, list[str]]:
    """{name: words}; the finished runs are made first."""
    fit, first = first_commands(folder)
    subprocess.run(
        [*TRAIN, *fit, "seed=2", f"hydra.run.dir={folder}/other"], cwd=folder, check=True, capture_output=True
    )
    scoring = [
        "stage=validate", "data=local", f"data.validation_file={folder}/validation.json",
        f"data.predictions_file={folder}/run/predictions.json", "data.limit=8",
    ]  # fmt: skip
    subprocess.run([*TRAIN, *scoring, f"hydra.run.dir={folder}/scores"], cwd=folder, check=True, capture_output=True)
    sweep = ["-m", *fit, "seed=1,2", f"hydra.sweep.dir={folder}/sweep"]
    subprocess.run([*TRAIN, *sweep], cwd=folder, check=True, capture_output=True)
    return {
        **first,
        "import lightning": [sys.executable, "-c", "import lightning"],
        "train.py --help": [*TRAIN, "--help"],
        "train.py --cfg job": [*TRAIN, "--cfg", "job"],
        "scoring: data.predictions_file": [*TRAIN, *scoring, "resume=never", f"hydra.run.dir={folder}/scores"],
        "qa.compare": [sys.executable, "-m", "qa.compare", f"{folder}/run", f"{folder}/other"],
        "the parent of a finished sweep": [*TRAIN, *sweep],
    }


def cpu_seconds(words: list[str], folder: Path) -> float:
    """User and system time of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    subprocess.run(words, cwd=folder, env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Prints a line for each command."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = commands(folder)
        seconds: dict[str, list[float]] = {what: [] for what in words}
        for _ in range(rounds):
            for what, command in words.items():
                seconds[what].append(cpu_seconds(command, folder))
    torch = seconds["import torch"]
    print(f"{'':<40} CPU seconds   of `import torch`, median (least to most of {rounds})")
    for what, found in seconds.items():
        ratios = sorted(one / of for one, of in zip(found, torch, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"{what:<40} {statistics.median(found):11.2f}   {spread}")


if __name__ == "__main__":
    main()
