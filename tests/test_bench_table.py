"""`python -m bench`: sides in turns, the stored ratios, and the table of BENCHMARKS.md."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.rows import WIKI, Given, many
from bench.table import BEGIN, END, PAGE, Figures, as_table, losses, stored
from helpers.paths import MINILM, ROOT, real_data
from qa.data.reading.examples import read_examples
from qa.errors import UserError
from qa.storage import write_text


def bench(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench", *words]
    env = {name: value for name, value in os.environ.items() if name != "QA_REAL_DATA"} | environment
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)


def test_missing_data_are_one_line(tmp_path: Path) -> None:
    for done in (bench(), bench(QA_REAL_DATA=str(tmp_path))):
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert "QA_REAL_DATA" in done.stderr and "xquad.en.json" in done.stderr


@pytest.mark.slow
def test_both_sides_of_a_row_are_measured_in_turns(tmp_path: Path) -> None:
    file = real_data(WIKI)
    given = Given(file.parent, tmp_path, rounds=2, model=str(MINILM))
    found = given.in_turns("reading", str(file))
    assert len(found) == 2
    assert all(took.seconds > 0.01 and 0.1 < took.gib < 8 for pair in found for took in pair)


@pytest.mark.slow
def test_a_side_that_fails_is_named(tmp_path: Path) -> None:
    given = Given(tmp_path, tmp_path, rounds=1, model=str(MINILM))
    with pytest.raises(UserError, match=r"bench.sides 1 .*_reading no-such-file.json: ended with status 1"):
        given.in_turns("reading", "no-such-file.json")


def test_a_ratio_below_the_stored_spread_is_named() -> None:
    before = {"fast": Figures.of([(8, 2), (9, 2), (10, 2)]), "other": Figures.of([(1, 1)])}
    assert before["fast"].row("fast") == "| fast | 9.00 | 2.00 | 4.50 (4.00 to 5.00) |"
    assert losses({"fast": Figures.of([(3.5, 1)])}, before) == []
    (line,) = losses({"fast": Figures.of([(3.3, 1)]), "new": Figures.of([(1, 2)])}, before)
    assert line == "fast: 3.30 times the usual way, stored are 4.00 to 5.00"


def test_the_page_shows_the_stored_ratios() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0] == as_table(stored())


def test_many_questions_are_good_ones(tmp_path: Path) -> None:
    qas = [{"id": str(n), "question": "Who?", "answers": [{"text": "Ada", "answer_start": 4}]} for n in range(3)]
    made = many([{"paragraphs": [{"context": "By: Ada", "qas": qas}]}], 8)
    write_text(tmp_path / "many.json", json.dumps(made))
    examples = read_examples(str(tmp_path / "many.json")).examples
    assert [example.id for example in examples[2:5]] == ["0 2", "1 0", "1 1"]
    assert len(examples) == 8
    assert len({example.context for example in examples}) == 3
