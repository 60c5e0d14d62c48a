"""What only a GPU can show of this project, in a quarter of an hour on one H100 or H200 without a network.

    python bench/gpu.py                 # on a GPU: every check, a line each, also in WORK/results.txt as they come
    python bench/gpu.py --small         # on a CPU: that the script itself works, in under two minutes
    python bench/gpu.py --only oom restart --work FOLDER

A line begins with PASS, FAIL, INFO (a number without a promise, beside the expected one) or SKIP. Checks are processes,
so that one that fails, hangs or takes the GPU down with it does not end the others. Model and data are made here: a
random BERT of mBERT's size, and the demo's corpus, with windows of about 180 tokens on average.

Torch 2.11 to 2.13 and Python 3.11 to 3.13 will do. A machine that has torch, lightning and transformers but no network
needs the rest as wheels, made elsewhere and carried there (the first lines say what is missing):

    pip download -d wheels --python-version 3.12 --only-binary=:all: --no-deps \
        hydra-core==1.3.8 omegaconf==2.3.1 pydantic==2.14.3 pydantic_core annotated-types typing-inspection zstandard
    pip wheel -w wheels --no-deps antlr4-python3-runtime==4.9.3
    pip install --no-index --no-deps wheels/*.whl
"""

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent)]

NEEDED = (
    "torch", "lightning", "transformers", "tokenizers", "safetensors", "torchmetrics", "hydra", "omegaconf", "antlr4",
    "pydantic", "annotated_types", "typing_inspection", "numpy", "scipy", "rich", "jinja2", "httpx", "pyarrow",
    "zstandard", "filelock", "matplotlib",
)  # fmt: skip
# (checks that share a process, seconds they may take, whether they are part of the small form), the most important
# first, so that whatever is cut off was needed least; all but the last group run alone, as they measure time
ALONE = (
    ("machine+graphs", 90, True), ("passes+micro", 100, True), ("speed", 120, True), ("reads", 60, True),
    ("evaluation", 40, True), ("restart", 90, False), ("capture", 60, False),
)  # fmt: skip
OTHERS = (
    ("two_ranks", 120, True), ("sharded", 60, False), ("ddp", 60, False), ("error", 60, False), ("flash", 40, False),
    ("precisions", 150, True), ("oom", 120, False), ("validate", 80, True), ("deterministic", 60, False),
)  # fmt: skip
AT_ONCE = 4


def missing() -> list[str]:
    """Packages that are needed but not installed."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def squad_of(paragraphs: list[Any], questions: int) -> dict[str, Any]:
    """SQuAD JSON of the first so many questions with an answer."""
    asked = [(part, question, answer) for part in paragraphs for question, answer in part.questions if answer]
    data = []
    for number, (part, question, answer) in enumerate(asked[:questions]):
        answers = [{"text": answer, "answer_start": part.text.index(answer)}]
        qas = [{"id": f"{number}", "question": question, "answers": answers}]
        data.append({"title": part.title, "paragraphs": [{"context": part.text, "qas": qas}]})
    return {"version": "1.1", "data": data}


def prepare(work: Path, small: bool) -> None:
    """Data files, and two models: `model`, and the smaller `mini`."""
    import torch
    from transformers import BertConfig, BertForQuestionAnswering
    from transformers.utils.logging import disable_progress_bar

    from qa.data.demo_corpus import demo_paragraphs

    disable_progress_bar()
    every = demo_paragraphs() * 2
    files = {"train": squad_of(every[24:], 96 if small else 960), "validation": squad_of(every[:24], 160)}
    if not small:
        files["large"] = squad_of(every[24:], 3840)
    for name, content in files.items():
        (work / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    words = set(re.findall(r"\w+|[^\w\s]", json.dumps(files, ensure_ascii=False)))
    letters = sorted({letter for word in words for letter in word})
    begin = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = list(dict.fromkeys([*begin, *letters, *(f"##{letter}" for letter in letters), *sorted(words)]))
    size = len(vocabulary) if small else 119547
    vocabulary += [f"[unused{number}]" for number in range(size - len(vocabulary))]
    tiny: Any = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    mini: Any = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
    kinds: dict[str, Any] = {"model": {}, "mini": mini}
    for name, kind in kinds.items():
        torch.manual_seed(0)
        folder = work / name
        config = BertConfig(vocab_size=size, **{**kind, **(tiny if small else {})})
        BertForQuestionAnswering(config).save_pretrained(folder)
        (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "model_max_length": 512}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def run(check: str, work: Path, small: bool, seconds: float, say: Any) -> bool:
    """Runs checks, joined by +, in a process and prints their lines as they come. Returns whether they passed."""
    command = [sys.executable, str(HERE / "gpu_checks.py"), check, str(work), *(["--small"] if small else [])]
    errors = work / f"{check}.stderr"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            ["timeout", "-k", "5", str(max(1, int(seconds))), *command],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        assert process.stdout is not None
        good = True
        for line in process.stdout:
            good &= not line.startswith("FAIL")
            say(line.rstrip())
    if status := process.wait():
        last = (errors.read_text(errors="replace").strip().splitlines() or ["nothing on stderr"])[-1]
        say(
            f"FAIL {check}: "
            + (f"not done within {seconds:.0f} s" if status in (124, 137) else f"status {status}: {last}")
        )
    return good and not status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny model on the CPU")
    parser.add_argument(
        "--only", nargs="+", choices=sorted({n for names, *_ in (*ALONE, *OTHERS) for n in names.split("+")})
    )
    parser.add_argument("--work", type=Path, default=None, help="a folder for models, runs, results.txt")
    parser.add_argument("--budget", type=float, default=900, help="seconds for all of it")
    arguments = parser.parse_args()
    begin = time.monotonic()
    if absent := missing():
        print(f"FAIL packages: missing are {' '.join(absent)}; see the top of {__file__}")
        return 2
    import torch

    small = arguments.small or not torch.cuda.is_available()
    packages = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ.update(PYTHONPATH=packages, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true", WANDB_MODE="disabled")
    work = (arguments.work or Path(tempfile.mkdtemp(prefix="gpu-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    with (work / "results.txt").open("w", encoding="utf-8") as results:

        def say(line: str) -> None:
            print(line, flush=True)
            print(line, file=results, flush=True)

        device = "the CPU, small" if small else torch.cuda.get_device_name()
        versions = {name: importlib.import_module(name).__version__ for name in ("torch", "lightning", "transformers")}
        say(f"INFO {device}, CUDA {torch.version.cuda}, " + ", ".join(" ".join(pair) for pair in versions.items()))
        if not (work / "train.json").exists():
            prepare(work, small)
        say(f"INFO models and data are made, {time.monotonic() - begin:.0f} s")

        def attempt(checks: str, seconds: float, in_small: bool) -> bool:
            check = "+".join(name for name in checks.split("+") if name in (arguments.only or [name]))
            if not check or (small and not in_small and not arguments.only):
                return True
            left = arguments.budget - (time.monotonic() - begin)
            if left < 10:
                say(f"SKIP {check}: no time left")
                return True
            return run(check, work, small, left if small else min(left, 2 * seconds), say)

        good = True
        for group in ALONE:
            good &= attempt(*group)
        with ThreadPoolExecutor(1 if small else AT_ONCE) as pool:
            good &= all(list(pool.map(lambda checks: attempt(*checks), OTHERS)))
        say(f"INFO all done, {time.monotonic() - begin:.0f} s; these lines are in {work / 'results.txt'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
