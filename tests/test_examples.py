"""Every way in which a file can be wrong: one line that names file, record and remedy."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import real_data, squad

from qa import UserError
from qa.examples import read_examples
from qa.files import find_files

CONTEXT = "Ada Brill built the bridge in 1912."
GOOD = squad((CONTEXT, [("a", "Who built it?", "Ada Brill"), ("b", "When?", "1912")]))


def broken(**changes: Any) -> bytes:
    """GOOD with fields of its second question changed; None removes one; `context` is the paragraph's."""
    data = json.loads(json.dumps(GOOD))
    paragraph = data["data"][0]["paragraphs"][0]
    for key, value in changes.items():
        owner = paragraph if key in ("context", "qas") else paragraph["qas"][1]
        if value is None:
            del owner[key]
        else:
            owner[key] = value
    return json.dumps(data).encode()


def write(folder: Path, content: bytes | dict[str, Any], name: str = "file.json") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(path)


SPOT = r"article 0, paragraph 0, question 1 \(id 'b'\): "
BAD_RECORDS = {
    "no question": (broken(question=None), SPOT + "the field 'question' is missing", "missing question"),
    "no id": (broken(id=None), r"question 1: the field 'id' is missing", "missing id"),
    "no context": (broken(context=None), "the field 'context' is missing", "missing context"),
    "no answers": (broken(answers=None), SPOT + "it has no answer", "no answer"),
    "no qas": (broken(qas=None), "article 0, paragraph 0: the field 'qas' is missing", "missing qas"),
    "qas no list": (broken(qas={}), "the field 'qas' must be a list", "wrong type"),
    "question no object": (broken(qas=["b"]), "article 0, paragraph 0, question 0: it must be an object", "wrong type"),
    "empty answers": (broken(answers=[]), SPOT + "it has no answer", "no answer"),
    "no answer_start": (
        broken(answers=[{"text": "1912"}]),
        SPOT + r"the field 'answers.0.answer_start' is missing",
        "missing answer_start",
    ),
    "misplaced": (
        broken(answers=[{"text": "1912", "answer_start": 3}]),
        SPOT + r"the answer '1912' is not at answer_start 3 \(there: ' Bri'\)",
        "misplaced answer",
    ),
    "negative start": (
        broken(answers=[{"text": "1912", "answer_start": -1}]),
        SPOT + r"the field 'answers.0.answer_start'",
        "wrong type",
    ),
    "start no number": (
        broken(answers=[{"text": "1912", "answer_start": "30"}]),
        SPOT + r"the field 'answers.0.answer_start': input should be a valid integer",
        "wrong type",
    ),
    "empty answer": (broken(answers=[{"text": " ", "answer_start": 3}]), SPOT + "an answer is empty", "empty answer"),
    "blank question": (broken(question=" \n"), SPOT + "the question is empty", "empty question"),
    "blank context": (broken(context="  "), "the context is empty", "empty context"),
    "repeated id": (broken(id="a"), r"question 1.*the id 'a' stands at .*question 0", "repeated id"),
    "v2": (broken(is_impossible=True, answers=[]), SPOT + "an unanswerable question", "unanswerable"),
    "half a surrogate": (
        broken(question="\ud800?"),
        SPOT + "the field 'question' holds half of a surrogate",
        "not UTF-8",
    ),
    "number for text": (
        broken(question=7),
        SPOT + "the field 'question': input should be a valid string",
        "wrong type",
    ),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
def test_a_bad_record_is_named_with_its_remedy_and_counted_when_skipped(case: str, tmp_path: Path) -> None:
    content, message, kind = BAD_RECORDS[case]
    with pytest.raises(UserError, match=message) as caught:
        read_examples(write(tmp_path, content))
    assert str(tmp_path / "file.json") in str(caught.value)
    assert "data.on_bad_record=skip" in str(caught.value)
    assert "\n" not in str(caught.value)
    other = write(tmp_path, squad((CONTEXT, [("z", "Who?", "Ada")])), "other.json")
    examples, skipped = read_examples([str(tmp_path / "file.json"), other], on_bad_record="skip")
    assert set(skipped) == {kind}
    assert examples[-1].id == "z"


BAD_FILES = {
    "truncated": (json.dumps(GOOD).encode()[:-30], "f.json", "not JSON at line 1 .* may be truncated"),
    "not UTF-8": (json.dumps(GOOD).encode().replace(b"Brill", b"Br\xfcll"), "f.json", "byte .* is not UTF-8"),
    "JSONL as JSON": (b'{"id": "a"}\n{"id": "b"}\n', "f.json", "name it .jsonl"),
    "no data": (b"[]", "f.json", 'no list "data" at its top'),
    "no question at all": (b'{"data": []}', "f.json", "no question in it"),
    "empty file": (b"", "f.json", "not JSON"),
    "empty JSONL": (b"\n", "f.jsonl", "no question in it"),
    "nested too deeply": (b"[" * 100_000, "f.json", "nested too deeply"),
    "truncated gzip": (gzip.compress(json.dumps(GOOD).encode())[:-9], "f.json.gz", "cannot be read"),
    "unknown kind": (b"a,b", "f.csv", "unknown kind of file"),
    "truncated JSONL line": (b'{"id": "a", "ques', "f.jsonl", "line 1: not JSON"),
    "not UTF-8 JSONL": (b'{"id": "\xfc"}', "f.jsonl", "line 1: not UTF-8"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_line(case: str, tmp_path: Path) -> None:
    content, name, message = BAD_FILES[case]
    with pytest.raises(UserError, match=message) as caught:
        read_examples(write(tmp_path, content, name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_json_jsonl_and_gzip_hold_the_same_examples(tmp_path: Path) -> None:
    lists: list[dict[str, Any]] = []
    hub: list[dict[str, Any]] = []
    for name, question, text in (("a", "Who built it?", "Ada Brill"), ("b", "When?", "1912")):
        row, start = {"id": name, "question": question, "context": CONTEXT}, CONTEXT.index(text)
        lists.append({**row, "answers": [{"text": text, "answer_start": start}]})
        hub.append({**row, "answers": {"text": [text], "answer_start": [start]}})
    wanted = read_examples(write(tmp_path, GOOD)).examples
    assert [example.id for example in wanted] == ["a", "b"]
    for rows in (lists, hub):
        text = "\ufeff" + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        assert read_examples(write(tmp_path, text.encode(), "f.jsonl")).examples == wanted
        assert read_examples(write(tmp_path, gzip.compress(text.encode()), "f.jsonl.gz")).examples == wanted
    assert read_examples(write(tmp_path, gzip.compress(json.dumps(GOOD).encode()), "f.json.gz")).examples == wanted


def test_ids_that_recur_across_files_get_the_files_stem(tmp_path: Path) -> None:
    files = [write(tmp_path, GOOD, f"x.{lang}.json") for lang in ("de", "en")]
    files.append(write(tmp_path, squad((CONTEXT, [("c", "Who?", "Ada")])), "more.json"))
    assert [e.id for e in read_examples(files).examples] == ["x.de/a", "x.de/b", "x.en/a", "x.en/b", "c"]
    assert [e.id for e in read_examples(str(tmp_path / "x.*.json")).examples] == [
        "x.de/a",
        "x.de/b",
        "x.en/a",
        "x.en/b",
    ]


def test_limit_counts_questions_over_all_files(tmp_path: Path) -> None:
    files = [write(tmp_path, GOOD, "one.json"), write(tmp_path, GOOD, "two.json")]
    assert [e.id for e in read_examples(files, limit=1).examples] == ["a"]
    assert len(read_examples(files, limit=3).examples) == 3


def test_a_prediction_needs_no_answers(tmp_path: Path) -> None:
    path = write(tmp_path, broken(answers=None))
    assert read_examples(path, need_answers=False).examples[1].answers == ()


def test_a_missing_file_and_an_empty_glob_are_named(tmp_path: Path) -> None:
    for name in ("none.json", "*.json"):
        with pytest.raises(UserError, match="no such file"):
            find_files(str(tmp_path / name))


@pytest.mark.parametrize("name", ["xquad.en.json", "xquad.ar.json", "squadshifts.new_wiki.json"])
def test_real_files_are_read_whole(name: str) -> None:
    examples, skipped = read_examples(str(real_data(name)))
    assert len(examples) == (1190 if name.startswith("xquad") else 7938)
    assert skipped == Counter()
