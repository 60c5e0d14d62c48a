"""The checks of `gpu.py`: each prints lines that begin with PASS, FAIL or INFO."""

import argparse
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

from bench.gpu_runs import Bench, Done, difference, say


def precisions(bench: Bench) -> None:
    """Each precision runs without an error or a warning; prints its speed and memory."""
    kinds = {
        "float32": ("matmul_precision=highest",), "tf32": (), "bf16-mixed": ("trainer.precision=bf16-mixed",),
        "16-mixed": ("trainer.precision=16-mixed",),
        "bf16-mixed deterministic": ("trainer.precision=bf16-mixed", "trainer.deterministic=true"),
    }  # fmt: skip
    reference: list[float] = []
    for name in list(kinds)[: 1 if bench.small else None]:
        done = bench.train(name.replace(" ", "-"), *kinds[name], model="exact")
        reference = reference or done.column("loss")
        text = (
            f"{done.speed()}, {done.peak():.1f} GiB, losses differ by {difference(reference, done.column('loss')):.1e}"
        )
        if done.status == 0:
            text += f", steps left out {json.loads((done.folder / 'results.json').read_text())['nonfinite_steps']}"
        say(done.clean(bench.steps), f"precisions {name}", text + done.trouble())


def ddp(bench: Bench) -> None:
    """DDP over NCCL with one rank has the losses of a run without DDP, and warns of nothing."""
    one = bench.train("one", "matmul_precision=highest", model="exact")
    done = bench.train(
        "ddp", "matmul_precision=highest", "trainer.strategy=ddp", model="exact", launcher=bench.torchrun()
    )
    found = difference(one.column("loss"), done.column("loss"))
    say(
        done.clean(bench.steps) and found < 1e-5, "ddp", f"losses differ by {found:.1e}, {done.speed()}{done.trouble()}"
    )


def two_ranks(bench: Bench) -> None:
    """Two ranks have the losses of one, also where one rank has too little memory: both halve the batch."""
    settings = "matmul_precision=highest", "data.batch_size=64"
    one = bench.train("alone", *settings, model="exact")
    limited: dict[str, str] = {}
    for name in ("two_ranks",) if bench.small else ("two_ranks", "two_ranks limited"):
        first, second = bench.two(name.replace(" ", "-"), *settings, limited=limited)
        found = difference(one.column("loss"), first.column("loss"))
        halved = (first.folder / "train.log").read_text().count("windows at a time") if first.folder.exists() else 0
        good = first.status == second.status == 0 and found < 1e-4 and bool(halved) == bool(limited)
        say(good, name, f"losses differ by {found:.1e}, halved {halved} times{second.trouble() or first.trouble()}")
        fraction = max(0.01, (first.peak() - 0.5) / memory()) if not bench.small else 1
        limited = {"PYTORCH_CUDA_ALLOC_CONF": f"per_process_memory_fraction:{fraction:.4f}"}


def memory() -> float:
    """Memory of this GPU in GiB."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / 2**30


def oom(bench: Bench) -> None:
    """Where the first step fits and the second, with Adam's state of 1.4 GiB, does not, the batch is halved."""
    _limited(bench, "oom", "matmul_precision=highest", 1e-4, (0.7, 2.0))


def capture(bench: Bench) -> None:
    """Where passes have room and their CUDA graphs have not, they go kernel by kernel."""
    _limited(bench, "capture", "trainer.precision=bf16-mixed", 1e-2, (0.2, 0.5, 1.0))


def _limited(bench: Bench, check: str, setting: str, most: float, less: tuple[float, ...]) -> None:
    """Runs with some GiB less than a run takes: losses differ by `most`, and something was done about the memory."""
    settings = setting, "data.batch_size=64"
    whole = bench.train(f"{check}-whole", *settings, model="exact")
    for missing in less:
        fraction = f"per_process_memory_fraction:{(whole.peak() - missing) / memory():.4f}"
        done = bench.train(f"{check}-{missing}", *settings, model="exact", PYTORCH_CUDA_ALLOC_CONF=fraction)
        halved, without = (done.stderr.count(words) for words in ("windows at a time", "no CUDA graphs"))
        found = difference(whole.column("loss"), done.column("loss"))
        text = f"{whole.peak():.1f} GiB less {missing}: losses differ by {found:.1e}, halved {halved} times"
        good = done.status == 0 and found < most and halved + without > 0
        say(good, check, f"{text}, {without} captures failed" + (done.trouble() if done.status else ""))


def restart(bench: Bench) -> None:
    """A run that is interrupted and resumed ends with the same weights."""
    ways = [(precision, bound) for precision in ("32-true", "bf16-mixed") for bound in ("null", "true")]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda way: _restart(bench, *way), ways))


def _restart(bench: Bench, precision: str, deterministic: str) -> None:
    import torch

    more = f"trainer.precision={precision}", f"trainer.deterministic={deterministic}", "trainer.max_epochs=2"
    kind = f"{precision}-{deterministic}"
    whole = bench.train(f"whole-{kind}", *more, model="mini", keep=True)
    command = bench.command(f"cut-{kind}", "mini", *more)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = bench.work / "runs" / f"cut-{kind}" / "metrics.csv"
    while not metrics.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    status = process.wait()
    done = bench.train(f"cut-{kind}", *more, "resume=auto", model="mini", keep=True)
    files = [run.folder / "checkpoints" / "last.ckpt" for run in (whole, done)]
    if whole.status or done.status or not all(file.exists() for file in files):
        say(False, f"restart {kind}", f"told to end: status {status}{whole.trouble() or done.trouble()}")
        return
    one, other = (torch.load(file, map_location="cpu", weights_only=True)["state_dict"] for file in files)
    equal = all(torch.equal(weight, other[name]) for name, weight in one.items())
    promised = deterministic == "true"
    say(equal if promised else None, f"restart {kind}", f"weights torch.equal: {equal}, told to end: status {status}")


def validate(bench: Bench) -> None:
    """The written model, evaluated again, has the figures of the fit to the bit."""
    for precision in ("32-true",) if bench.small else ("32-true", "bf16-mixed"):
        fit = bench.train(f"fit-{precision}", f"trainer.precision={precision}")
        more = "stage=validate", f"trainer.precision={precision}", f"model.pretrained={fit.folder}/model"
        done = bench.train(f"validate-{precision}", *more)
        try:
            figures = [json.loads((run.folder / "results.json").read_text())["best"] for run in (fit, done)]
            answers = [(run.folder / "predictions.json").read_bytes() for run in (fit, done)]
        except OSError:
            say(False, f"validate {precision}", f"not written{fit.trouble() or done.trouble()}")
            continue
        names = ("val_loss", "exact_match", "f1")
        same = answers[0] == answers[1] and all(figures[0][name] == figures[1][name] for name in names)
        say(same, f"validate {precision}", ", ".join(f"{name} {figures[1][name]}" for name in names))


def sharded(bench: Bench) -> None:
    """FSDP2 over NCCL with one rank: fused Adam on its tensors, a checkpoint, a written model."""
    done = bench.train("sharded", "trainer=sharded", "data.micro_batch_size=16", launcher=bench.torchrun())
    written = (done.folder / "model" / "model.safetensors").exists()
    say(done.clean(bench.steps) and written, "sharded", f"{done.speed()}, {done.peak():.1f} GiB{done.trouble()}")


def error(bench: Bench) -> None:
    """A rank of a group exits at once after an error."""
    more = "trainer.strategy=ddp", "optimizer.lr=1e20"
    done = bench.train("error", *more, model="mini", launcher=bench.torchrun())
    named = "lower optimizer.lr" in done.stderr
    say(done.status != 0 and named and done.seconds < 60, "error", f"{done.seconds:.0f} s, its own words: {named}")


def deterministic(bench: Bench) -> None:
    """`trainer.deterministic=true` needs no kernel that a GPU lacks."""
    from transformers import AutoConfig, AutoModelForQuestionAnswering

    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    for kind in ("roberta", "electra", "deberta-v2"):
        vocabulary = len((bench.work / "mini" / "vocab.txt").read_text(encoding="utf-8").splitlines())
        config = AutoConfig.for_model(kind, vocab_size=vocabulary, max_position_embeddings=514, **small)
        AutoModelForQuestionAnswering.from_config(config).save_pretrained(bench.work / kind)
        for name in ("vocab.txt", "tokenizer_config.json"):
            (bench.work / kind / name).write_bytes((bench.work / "mini" / name).read_bytes())

    def fit(kind: str) -> Done:
        return bench.train(f"deterministic-{kind}", "trainer.deterministic=true", model=kind)

    kinds = ("model", "roberta", "electra", "deberta-v2")
    with ThreadPoolExecutor(4) as pool:
        for kind, done in zip(kinds, pool.map(fit, kinds), strict=True):
            say(done.clean(bench.steps), f"deterministic {kind}", done.trouble() or "no operation is refused")


def flash(bench: Bench) -> None:
    """Loads and trains where flash-attn is installed; elsewhere it prints one line."""
    done = bench.train("flash", "model.attention=flash", "trainer.precision=bf16-mixed")
    refused = done.status == 2 and done.stderr.count("\n") == 1 and "model.attention=flash" in done.stderr
    say(refused or done.clean(bench.steps), "flash", done.trouble().strip(", ") or done.speed())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checks", help="names, joined by +: one after another in this process")
    parser.add_argument("work", type=Path)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    bench = Bench(arguments.work, arguments.small)
    for name in arguments.checks.split("+"):
        modules = (sys.modules[__name__], *(import_module(f"bench.gpu_{kind}") for kind in ("parts", "fits")))
        next(getattr(module, name) for module in modules if hasattr(module, name))(bench)


if __name__ == "__main__":
    main()
