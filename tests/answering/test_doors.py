"""`qa.answer`, `qa.calibrate` and `qa.export` are told a file's names, list its bad records, and give own remedies."""

import contextlib
import importlib
import json
import logging
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from qa.errors import InFlags, door, in_flags

CONTEXT = "The bridge of Tollen was built in 1822 by Ada Brill."


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    """Runs `python -m qa.NAME WORDS` and returns its status, what it prints, and its error."""

    def run(name: str, *words: str | Path) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, words)])
        with pytest.raises(SystemExit) as end:
            door(importlib.import_module(f"qa.{name}").main)
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def model(tiny: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny, tmp_path / "model")
    return tmp_path / "model"


def table(folder: Path, bad: int) -> Path:
    """A table with German names: two questions, and so many without a text."""
    rows = [f"Wer?,{CONTEXT},Ada Brill", f"Wann?,{CONTEXT},1822", *["Was?,,x"] * bad]
    (folder / "fragen.csv").write_text("\n".join(["Frage,Text,Antwort", *rows]) + "\n")
    return folder / "fragen.csv"


NAMES = ("--column", "question=Frage", "--column", "context=Text", "--column", "answer=Antwort")


def test_a_file_of_other_names_is_answered(run: Any, model: Path, tmp_path: Path, caplog: Any) -> None:
    file, out = table(tmp_path, bad=13), tmp_path / "out.jsonl"
    status, shown, _ = run("answer", model, "--in", file, "--out", out, *NAMES)
    assert (status, shown) == (1, f"{out}: 2 answered, 13 bad\n")
    assert [record.getMessage() for record in caplog.records] == [
        *(f"{file}: line {number}: the context is empty" for number in range(4, 14)),
        f"3 more records could not be used; their lines in {out} say why",
    ]
    assert sum("error" in json.loads(line) for line in out.read_text().splitlines()) == 13


def test_a_model_is_calibrated_with_the_good_records(run: Any, model: Path, tmp_path: Path, caplog: Any) -> None:
    file = table(tmp_path, bad=12)
    status, shown, _ = run("calibrate", model, file, *NAMES)
    assert status == 0 and "2 questions" in shown and (model / "qa.json").exists()
    messages = [record.getMessage() for record in caplog.records]
    assert messages[:10] == [f"{file}: line {number}: the context is empty" for number in range(4, 14)]
    assert messages[10:] == ["12 of 14 records skipped"]


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("answer", "MODEL --in TABLE --out OUT", "TABLE: no columns 'question' and 'context' (there: Frage, Text,"
         " Antwort); give --column question=NAME and --column context=NAME"),
        ("answer", "MODEL --in EMPTY --out OUT", "EMPTY: no question in it; give a file that holds some"),
        ("answer", "MODEL --in TABLE --out EMPTY", "EMPTY: already exists; remove it, or give another --out"),
        ("answer", "MODEL --in TABLE --out OUT --column frage=Frage", "--column frage=Frage: give KEY=NAME, each KEY"
         " once; the keys are id, question, context, answer, answer_start, is_impossible"),
        ("answer", "MODEL --in TABLE --out OUT --column id=a --column id=b", "--column id=b: give KEY=NAME, each KEY"),
        ("answer", "MODEL --question a --column id=a", "give --question with a text, or --in with --out: --context"),
        ("answer", "MODEL --in TABLE --out OUT --format json", "give --question with a text, or --in with --out: --"),
        ("answer", "MODEL --in TABLE --out OUT --context a", "give --question with a text, or --in with --out: --"),
        ("answer", "MODEL --question a --context b --top-k 0", "--top-k 0: should be greater than 0"),
        ("answer", "MODEL --question a --context b --batch-size many", "--batch-size 'many': "),
        ("answer", "MODEL --question a --context b --max-length 600", "--max-length 600: "),
        ("answer", "MODEL --question a --context b --stride 600", "--stride 600: "),
        ("answer", "MODEL --question a --context b --device tpu", "--device tpu: "),
        ("calibrate", "MODEL TABLE --device tpu", "--device tpu: "),
        ("export", "MODEL --to onnx --column id=a", "--column: names fields of --check; give that, too"),
        ("answer", "MODEL --topk 3", "unrecognized arguments: --topk 3; python -m qa.answer --help has all flags"),
        ("calibrate", "MODEL EMPTY", "EMPTY: no question in it; give a file that holds some"),
        ("calibrate", "MODEL ASKS", "ASKS: no question in it (skipped: 1 no answer, the first at ASKS: line 1: it has"
         " no answer (there: question, context); give --column answer=NAME, or mark it as unanswerable"),
        ("calibrate", "NOWHERE TABLE", "NOWHERE: no such folder; give one that holds a model"),
        ("export", "MODEL --to onnx --out OUT --check EMPTY", "EMPTY: no question in it; give a file that holds some"),
        ("export", "NOWHERE --to onnx --out OUT", "NOWHERE: no such folder; give a model's folder or a hub id"),
        ("export", "MODEL --to tensorrt", "argument --to: invalid choice: 'tensorrt' (choose from 'onnx', 'openvino')"),
        ("serve", "--prt 8000", "unrecognized arguments: --prt; python -m qa.serve --help has all flags"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_in_the_words_of_the_door(
    run: Any,
    model: Path,
    tmp_path: Path,
    name: str,
    words: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "asks.jsonl").write_text(json.dumps({"question": "Who?", "context": CONTEXT}) + "\n")
    paths = {"MODEL": model, "TABLE": table(tmp_path, bad=0), "EMPTY": tmp_path / "empty.jsonl"}
    paths |= {"ASKS": tmp_path / "asks.jsonl", "OUT": tmp_path / "out", "NOWHERE": tmp_path / "nowhere"}
    for key, path in paths.items():
        message = message.replace(key, str(path))
    before = sorted(tmp_path.rglob("*"))
    status, shown, error = run(name, *[str(paths.get(word, word)) for word in words.split()])
    assert (status, shown) == (2, "")
    assert error.startswith(f"ERROR: {message}") and error.count("\n") == 1
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with contextlib.suppress(SystemExit):
        importlib.import_module(f"qa.{name}").main()
    flags = {*re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out)}
    assert {*re.findall(r"(?<!\S)--[a-z][a-z-]*", error)} <= flags | {"--topk", "--prt"}
    assert not re.search(r"(?<!--column )(?<!\S)[a-z_.]+=", error)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_door_advises_no_setting_of_train_py() -> None:
    assert in_flags("a.csv: no column 'q'; give data.columns.question=NAME") == (
        "a.csv: no column 'q'; give --column question=NAME"
    )
    assert in_flags("a.csv: line 1: no answer; fix it, or skip it with data.on_bad_record=skip") == (
        "a.csv: line 1: no answer"
    )
    assert in_flags("x: no such file; give a path or a glob in data.*_file") == "x: no such file"
    kept = "model.onnx: no such file; did you mean data.json?"
    assert in_flags(kept) == kept
    record = logging.LogRecord("qa", logging.WARNING, "", 0, "%s: read; data.columns.KEY=NAME\x1b", ("a",), None)
    assert InFlags().format(record) == "WARNING: a: read; --column KEY=NAME␛"
