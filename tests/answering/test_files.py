"""A file of questions is answered whole, each record once, also by a process that is killed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.commands import wait
from helpers.forked import python
from helpers.paths import ROOT
from qa import QuestionAnswerer, UserError
from qa.answer import main
from qa.answering import files
from qa.answering.files import answer_file, as_line
from qa.answering.options import AnswerOptions

CONTEXT = "The bridge of Tollen was built in 1822 by Ada Brill. A flood took its arches away."


@pytest.fixture(scope="module")
def answerer(tiny: Path) -> QuestionAnswerer:
    return QuestionAnswerer.from_pretrained(str(tiny))


def asks(folder: Path, count: int) -> Path:
    """Questions, the fourth record of which is no JSON, the sixth no question, the eighth too long a one."""
    rows = [
        {"id": f"q{n}", "question": f"Who is {n}?", "context": CONTEXT + f" It has {n} stones."} for n in range(count)
    ]
    lines = [json.dumps(row) for row in rows]
    lines[3] = '{"id": "q3", '
    lines[5] = json.dumps({"id": "q5", "question": "  ", "context": CONTEXT})
    lines[7] = json.dumps({"id": "q7", "question": "word " * 600, "context": CONTEXT})
    (folder / "asks.jsonl").write_text("\n".join(lines) + "\n")
    return folder / "asks.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_record_has_its_line_and_bad_ones_are_named(
    answerer: QuestionAnswerer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = asks(tmp_path, 12), tmp_path / "new" / "answers.jsonl"
    counts = answer_file(answerer, str(source), target, {"top_k": 3})
    assert (counts["answered"], counts["bad"], counts["before"]) == (9, 3, 0)
    lines = read(target)
    assert [line["id"] for line in lines] == [f"q{n}" if n not in (3, 5) else None for n in range(12)]
    assert [n for n, line in enumerate(lines) if "error" in line] == [3, 5, 7]
    for n in (3, 5):
        assert lines[n]["error"].startswith(f"{source}: line {n + 1}") and "on_bad_record" not in lines[n]["error"]
    assert "is too long" in lines[7]["error"]
    for row in (3, 5, 7):
        assert lines[row]["error"] in caplog.text
    expected = answerer("Who is 1?", CONTEXT + " It has 1 stones.", top_k=3)
    assert (lines[1]["text"], lines[1]["start"]) == (expected.text, expected.start)
    good = [line for line in lines if "error" not in line]
    assert {a["context_index"] for line in good for a in (line, *line.get("alternatives", []))} == {0}
    assert [a["text"] for a in lines[1].get("alternatives", [])] == [a.text for a in expected.alternatives]
    assert "no_answer_probability" not in lines[1]
    assert [path.name for path in target.parent.iterdir()] == ["answers.jsonl"]
    with pytest.raises(UserError, match=r"answers\.jsonl: already exists; remove it, or give another --out"):
        answer_file(answerer, str(source), target, {})
    link = tmp_path / "link.jsonl"
    link.symlink_to(tmp_path / "nothing.jsonl")
    with pytest.raises(UserError, match=r"link\.jsonl: already exists"):
        answer_file(answerer, str(source), link, {})


def test_other_questions_or_options_do_not_go_on_with_these(
    answerer: QuestionAnswerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = asks(tmp_path, 12), tmp_path / "answers.jsonl"

    calls: list[Any] = []

    def stop(*given: Any) -> Any:
        calls.append(given)
        if len(calls) > 4:  # the answers of the first five records
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(files, "AT_ONCE", 5)
    with monkeypatch.context() as broken:
        broken.setattr(files, "as_line", stop)
        with pytest.raises(KeyboardInterrupt):
            answer_file(answerer, str(source), target, {"top_k": 2})
    [part] = tmp_path.glob("*.part")
    part.write_text('{"id": "q0", "text": "", "start": 0}\n{"id": "q1", "te')
    assert answer_file(answerer, str(source), target, {"top_k": 1})["before"] == 0
    target.unlink()
    counts = answer_file(answerer, str(source), target, {"top_k": 2})
    assert (counts["before"], counts["answered"], counts["bad"]) == (1, 8, 3)
    assert [line["id"] for line in read(target)][:3] == ["q0", "q1", "q2"]


def test_two_starts_of_one_command_do_not_write_together(
    answerer: QuestionAnswerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = asks(tmp_path, 12), tmp_path / "answers.jsonl"
    refused: list[str] = []
    as_line = files.as_line

    def meanwhile(*given: Any) -> Any:
        for options in ({}, {"top_k": 2}):
            with pytest.raises(UserError) as error:
                answer_file(answerer, str(source), target, options)  # type: ignore[arg-type]
            refused.append(str(error.value))
        return as_line(*given)

    with monkeypatch.context() as two:
        two.setattr(files, "as_line", meanwhile)
        answer_file(answerer, str(source), target, {})
    assert set(refused) == {f"{target}: another process is writing it; wait for it, or give another --out"}
    assert len(read(target)) == 12
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "asks.jsonl"]


@pytest.mark.parametrize(
    ("change", "before"),
    [
        (lambda lines: [*lines[:5], b'{"id": "q5", "te', *lines[6:]], 5),
        (lambda lines: [*lines[:5], bytes(100) + b"\n", *lines[6:]], 5),
        (lambda lines: [*lines[:2], b"[" * 100_000 + b"\n"], 2),
        (lambda lines: [*lines[:2], b'"q2"\n', b'{"id": "q2"}\n'], 2),
        (lambda lines: [*lines[:4], *lines[6:]], 4),
        (lambda lines: [*lines, *lines], 12),
        (lambda _: [b"a thesis"], 0),
    ],
)
def test_a_part_with_other_lines_is_done_again_from_there(
    answerer: QuestionAnswerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, before: int
) -> None:
    source, target = asks(tmp_path, 12), tmp_path / "answers.jsonl"
    with monkeypatch.context() as cut:
        cut.setattr(files, "rename_new", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            answer_file(answerer, str(source), target, {})
    [part] = tmp_path.glob("*.part")
    whole = part.read_bytes()
    part.write_bytes(b"".join(change(whole.splitlines(keepends=True))))
    counts = answer_file(answerer, str(source), target, {})
    assert (counts["before"], counts["bad"]) == (before, 3)
    assert target.read_bytes() == whole


def test_a_file_that_was_made_meanwhile_stays(
    answerer: QuestionAnswerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = asks(tmp_path, 12), tmp_path / "answers.jsonl"
    as_line = files.as_line
    monkeypatch.setattr(files, "as_line", lambda answer: (target.write_text("a thesis"), as_line(answer))[1])
    with pytest.raises(UserError, match="another program wrote it meanwhile; the answers are in") as error:
        answer_file(answerer, str(source), target, {})
    [part] = tmp_path.glob("*.part")
    assert str(error.value).endswith(str(part)) and len(read(part)) == 12
    assert target.read_text() == "a thesis"


@pytest.mark.slow
def test_a_killed_process_goes_on_and_ends_with_the_same_file(tiny: Path, tmp_path: Path) -> None:
    source = asks(tmp_path, 2000)
    here: dict[str, Any] = {"cwd": ROOT, "env": {**os.environ, "HF_HUB_OFFLINE": "1"}}

    def command(name: str) -> list[str]:
        return [python(), "-m", "qa.answer", str(tiny), "--in", str(source), "--out", str(tmp_path / name)]

    whole = subprocess.run(command("whole.jsonl"), **here, capture_output=True, text=True)
    assert (whole.returncode, whole.stdout) == (1, f"{tmp_path}/whole.jsonl: 1997 answered, 3 bad\n")
    assert whole.stderr.count("\n") == 3
    process = subprocess.Popen(command("cut.jsonl"), **here, stderr=subprocess.DEVNULL)
    wait(lambda: any(path.stat().st_size for path in tmp_path.glob("cut.jsonl.*.part")), "a part of the answers")
    process.kill()
    process.wait()
    assert not (tmp_path / "cut.jsonl").exists()
    done = subprocess.run(command("cut.jsonl"), **here, capture_output=True, text=True)
    assert done.returncode == 1 and " before\n" in done.stdout and "3 bad" in done.stdout
    assert (tmp_path / "cut.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def ask(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["qa.answer", *map(str, words)])
    return main()


def test_answers_are_printed_for_people_and_for_programs(
    answerer: QuestionAnswerer, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "one.txt").write_text("\ufeff" + CONTEXT, encoding="utf-8")
    words = ("--question", "Who built it?", "--question", "When?", "--context-file", tmp_path / "one.txt")
    who, when = answerer(["Who built it?", "When?"], CONTEXT)
    assert ask(monkeypatch, tiny, *words, "--format", "jsonl") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["question"], line["text"]) for line in lines] == [("Who built it?", who.text), ("When?", when.text)]
    assert ask(monkeypatch, tiny, *words, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == lines
    assert ask(monkeypatch, tiny, *words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Q Who built it? {' '.join(CONTEXT[: who.start].split())}"[:20] in shown
    assert f"[{who.text}]" in shown and f"(probability {who.probability:.2f})" in shown
    other = ("--context", "Ada Brill built it.", "--context-file", tmp_path / "one.txt", "--top-k", "30")
    assert ask(monkeypatch, tiny, "--question", "Who built it?", *other) == 0
    shown = capsys.readouterr().out
    assert ", context 1)" in shown and f", {tmp_path}/one.txt)" in shown.replace("\n", " ").replace("   ", "")
    assert ask(monkeypatch, tiny, "--question", "When?", "--context", CONTEXT, "--min-probability", "1") == 0
    assert "no answer" in capsys.readouterr().out
    files = ("--in", asks(tmp_path, 12), "--top-k", "2", "--batch-size", "4", "--handle-impossible-answer", "true")
    assert ask(monkeypatch, tiny, *files, "--out", tmp_path / "answers.jsonl") == 1
    capsys.readouterr()
    assert ask(monkeypatch, tiny, *files, "--out", "-") == 1
    shown = capsys.readouterr()
    assert shown.out == (tmp_path / "answers.jsonl").read_text() and "3 bad" in shown.err
    texts = [word for letter in "abcdef" for word in ("--context", f"{letter}: {CONTEXT}")]
    every = ("--question", "Who built it?", *texts, "--read-texts", "null", "--whole-words", "true", "--top-k", "20")
    assert ask(monkeypatch, tiny, *every, "--overlap-threshold", "1", "--format", "jsonl") == 0
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    options: AnswerOptions = {"read_texts": None, "whole_words": True, "top_k": 20, "overlap_threshold": 1}
    assert line == {"question": "Who built it?", **as_line(answerer("Who built it?", texts[1::2], **options))}
    assert line != {"question": "Who built it?", **as_line(answerer("Who built it?", texts[1::2], top_k=20))}
    assert "no_answer_probability" in shown.out and not (tmp_path / "-").exists()


def test_a_question_is_answered_at_the_temperature_of_its_language(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model = shutil.copytree(tiny, tmp_path / "model")
    (model / "qa.json").write_text(json.dumps({"temperature": 0.1, "temperature_by_language": {"de": 1000.0}}))
    words = ("--question", "Who built it?", "--context", CONTEXT, "--format", "jsonl")
    for language in ((), ("--language", "de")):
        assert ask(monkeypatch, model, *words, *language) == 0
    general, german = [json.loads(line)["probability"] for line in capsys.readouterr().out.splitlines()]
    assert german < general
    with pytest.raises(UserError, match="language=german: there are de; give one of them, or none"):
        ask(monkeypatch, model, *words, "--language", "german")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--question", "a"], "no text; give --context TEXT, --context-file FILE, or send one to the standard input"),
        (["--question", "a", "--context", "b", "--in", "c"], "give --question with a text, or --in with --out"),
        ([], "give --question with a text, or --in with --out"),
        (["--question", "a", "--context-file", "/nowhere"], "/nowhere: cannot be read"),
        (["--question", "a", "--context-file", "LATIN"], "byte 1 is not UTF-8; convert it"),
        (["--in", "/nowhere.jsonl", "--out", "/nowhere/x"], "/nowhere.jsonl: no such file"),
        (["--question", "a", "--context", "b", "--top-k", "0"], "top_k=0: should be greater than 0"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    words: list[str], message: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "latin.txt").write_bytes("aé".encode("latin-1"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with pytest.raises(UserError, match=message):
        ask(monkeypatch, tiny, *[word.replace("LATIN", str(tmp_path / "latin.txt")) for word in words])


@pytest.mark.slow
def test_the_shell_gets_a_text_and_one_line_for_an_error(tiny: Path) -> None:
    command = [python(), "-m", "qa.answer", str(tiny), "--question", "Kto zbudował?", "--format", "jsonl"]
    latin = {**os.environ, "PYTHONIOENCODING": "latin-1"}  # JSON is UTF-8 nevertheless
    done = subprocess.run(command, cwd=ROOT, env=latin, input="Żółw.".encode(), capture_output=True)
    assert done.returncode == 0
    answer = json.loads(done.stdout.decode())
    assert answer["question"] == "Kto zbudował?"
    assert answer["text"] and "Żółw."[answer["start"] : answer["end"]] == answer["text"]
    done = subprocess.run(command, cwd=ROOT, input=b"\xff", capture_output=True)
    assert (done.returncode, done.stderr) == (2, b"ERROR: standard input: byte 0 is not UTF-8; convert it\n")
