"""Real tokenizers, real data where it lies, and one tiny BERT for everything that need not be clever."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from transformers import BertConfig, BertForQuestionAnswering, PreTrainedTokenizerFast

from bench.rows import VOCABULARY, write_mbert
from helpers import forked
from helpers.commands import Run
from helpers.forked import python
from helpers.guarantees import as_table, tried, write_page
from helpers.paths import MINILM, ROOT, real_data
from helpers.questions import write_bridges
from qa.data.windows.tokenizer import load_tokenizer

STARTED = time.monotonic()
SLOW = {"train_py", "small", "ranks", "page"}  # fixtures that start `train.py`, ranks or a browser

# whose tests these are must not decide which logger they have
os.environ["NETRC"] = os.devnull
for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE"):
    os.environ.pop(name, None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--prove", action="store_true", help="the tests of what is guaranteed, in all cases, and a table")
    parser.addoption("--golden", action="store_true", help="stores the numbers of tests/golden.json anew")
    parser.addoption("--page", type=Path, help="with --prove: writes the table into this page, too")


def pytest_configure(config: pytest.Config) -> None:
    forked.FRESH = config.getoption("--prove")


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks what uses a slow fixture; `--prove` takes guarantees and long cases, otherwise all but the long run."""
    kept, left = list[pytest.Item](), list[pytest.Item]()
    for item in items:
        long, guarantee = (item.get_closest_marker(name) is not None for name in ("long", "guarantee"))
        (kept if (long or guarantee if config.getoption("--prove") else not long) else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept
    for item in items:
        if SLOW & {*getattr(item, "fixturenames", ())}:
            item.add_marker("slow")
        if marker := item.get_closest_marker("guarantee"):
            item.user_properties.append(("guarantee", marker.args[0]))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """After `--prove`: each guarantee, in how many cases it was tried, and in how many it held."""
    if not config.getoption("--prove") or hasattr(config, "workerinput"):
        return  # a process of xdist's knows its own tests alone, and may end while others still run
    stats = terminalreporter.stats
    found = tried(report for kind in ("passed", "failed", "error") for report in stats.get(kind, []))
    Console(width=120).print(as_table(found))
    if page := config.getoption("--page"):
        write_page(page, found, time.monotonic() - STARTED)


@pytest.fixture(scope="session")
def minilm() -> PreTrainedTokenizerFast:
    return load_tokenizer(str(MINILM))


@pytest.fixture(scope="session")
def mbert(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    """The tokenizer of bert-base-multilingual-cased, from its vocabulary."""
    folder = tmp_path_factory.mktemp("mbert")
    write_mbert(folder, real_data(VOCABULARY))
    return load_tokenizer(str(folder))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, minilm: PreTrainedTokenizerFast) -> Path:
    """A folder with a random BERT of 32 hidden units and MiniLM's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(minilm), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertForQuestionAnswering(config).save_pretrained(folder)
    minilm.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory, tiny: Path, minilm: PreTrainedTokenizerFast) -> Path:
    """The tiny BERT without dropout."""
    folder = tmp_path_factory.mktemp("exact")
    model = BertForQuestionAnswering.from_pretrained(tiny, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    model.save_pretrained(folder)
    minilm.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A training file of 40 questions and a validation file of 10, longer than one window of 64 tokens."""
    return write_bridges(tmp_path_factory.mktemp("small"), train=20, validation=5)


@pytest.fixture(scope="session")
def v2_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A training file of 60 questions and a validation file of 24, a third of them without an answer (SQuAD v2)."""
    nobody = ("who", "Who is the mayor of the town?", "")
    return write_bridges(tmp_path_factory.mktemp("v2"), 20, 8, nobody)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Has torch compute in one thread: sums in several are rounded otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def train_py() -> Run:
    """Runs `train.py ARGUMENTS` without a network and returns its status and output; see `helpers.forked.python`.

    `fresh`: as a user starts it, for tests of the start itself.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}

    def run(
        *arguments: str | Path, timeout: float = 240, cwd: Path = ROOT, fresh: bool = False, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable if fresh else python(), str(ROOT / "train.py"), *map(str, arguments)], cwd=cwd,
            env={**environment, **env}, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip

    return run
