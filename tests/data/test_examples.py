"""Every way in which a file can be wrong: one line that names file, record and remedy."""

import csv
import gc
import gzip
import io
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from helpers.paths import real_data
from helpers.questions import squad
from qa.data.example import Example
from qa.data.reading.examples import read_examples, split_by_paragraph
from qa.data.reading.files import find_files
from qa.data.reading.overlap import Overlap, overlap
from qa.data.reading.record import Columns
from qa.errors import UserError

CONTEXT = "Ada Brill built the bridge in 1912."
GOOD = squad((CONTEXT, [("a", "Who built it?", "Ada Brill"), ("b", "When?", "1912")]))


def test_a_line_without_an_id_has_its_number(tmp_path: Path) -> None:
    lines = [{"question": "When?", "context": CONTEXT}, {"id": "own", "question": "Who?", "context": CONTEXT}]
    (tmp_path / "ask.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = read_examples(str(tmp_path / "ask.jsonl"), need="nothing").examples
    assert [example.id for example in found] == ["1", "own"]


def test_a_wrong_path_names_the_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mydata.json").touch()
    with pytest.raises(UserError, match=f"mydat.json: no such file; did you mean {tmp_path}/mydata.json?"):
        find_files(str(tmp_path / "mydat.json"))


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
    "no context": (broken(context=None), "the field 'context' is missing", "missing context"),
    "no answers": (broken(answers=None), SPOT + "it has no answer", "no answer"),
    "names that are not known": (
        broken(question=None, frage="When?"),
        r"the field 'question' is missing \(there: .*, context, qas, .*frage\); give data.columns.question=NAME",
        "missing question",
    ),
    "an answer without a text": (
        broken(answers=[{"at": 7}]),
        SPOT + "the answer has no 'text': {'at': 7}",
        "wrong type",
    ),
    "no qas": (broken(qas=None), "article 0, paragraph 0: the field 'qas' is missing", "missing qas"),
    "qas no list": (broken(qas="b"), "the field 'qas' must be a list", "wrong type"),
    "question no object": (broken(qas=["b"]), "article 0, paragraph 0, question 0: it must be an object", "wrong type"),
    "no answer_start": (
        broken(answers=[{"text": "i"}]),
        SPOT + r"the answer 'i' is not in the context, and has no answer_start",
        "answer not located",
    ),
    "misplaced": (
        broken(answers=[{"text": "1912", "answer_start": 3}]),
        SPOT + r"the answer '1912' is not at answer_start 3 \(there: ' Bri'\)",
        "misplaced answer",
    ),
    "start no number": (
        broken(answers=[{"text": "1912", "answer_start": "thirty"}]),
        SPOT + r"the field 'answer_start' should be a whole number, not 'thirty'",
        "wrong type",
    ),
    "half a place": (
        broken(answers=[{"text": "1912", "answer_start": 30.5}]),
        SPOT + "the field 'answer_start' should be a whole number, not 30.5",
        "wrong type",
    ),
    "too many places": (
        broken(answers={"text": ["1912"], "answer_start": [30, 31]}),
        SPOT + "1 answers with 2 answer_start",
        "wrong type",
    ),
    "a list for a text": (broken(answers=[["1912"]]), SPOT + r"the field 'answers' should be text", "wrong type"),
    "a flag that is none": (
        broken(is_impossible="perhaps"),
        SPOT + "the field 'is_impossible' should be true or false, not 'perhaps'",
        "wrong flag",
    ),
    "a list for an id": (broken(id=["b"]), "question 1: the field 'id' should be text", "wrong type"),
    "half a surrogate in an answer": (
        broken(answers=[{"text": "1912"}, {"text": "\ud800"}]),
        SPOT + "the field 'answers' holds half of a surrogate",
        "not UTF-8",
    ),
    "blank question": (broken(question=" \n"), SPOT + "the question is empty", "empty question"),
    "blank context": (broken(context="  "), "the context is empty", "empty context"),
    "repeated id": (broken(id="a"), r"question 1.*the id 'a' is at .*question 0", "repeated id"),
    "half a surrogate": (
        broken(question="\ud800?"),
        SPOT + "the field 'question' holds half of a surrogate",
        "not UTF-8",
    ),
    "number for text": (
        broken(question=7),
        SPOT + "the field 'question' should be text, not 7",
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
    read = read_examples([str(tmp_path / "file.json"), other], on_bad_record="skip")
    assert set(read.skipped) == {kind}
    assert read.examples[-1].id == "z"


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 9\n"
BAD_FILES = {
    "truncated": (json.dumps(GOOD).encode()[:-30], "f.json", "not JSON at line 1: .* may be truncated"),
    "not UTF-8": (
        json.dumps(GOOD).encode().replace(b"Brill", b"Br\xfcll"),
        "f.json",
        "the field 'context' is not UTF-8",
    ),
    "another object": (
        b'{"name": "x", "version": 1}',
        "f.json",
        "an object with 'name', 'version', without a list 'data'",
    ),
    "another list": (b'{"items": [{}]}', "f.json", "an object with 'items', without a list 'data'"),
    "no object": (b'"text"', "f.json", "no object, without a list 'data'"),
    "a comma too many": (b'[{"a": 1},\n]', "f.json", r"not JSON at line 2: a comma too many before \]; remove it"),
    "several objects": (
        b'{\n"a": 1}\n{\n"a": 2}',
        "f.json",
        "line 3: several objects one after another; put them into a",
    ),
    "a web page": (b"<!DOCTYPE html>", "f.json", "a web page, or XML; get the file itself"),
    "a mistake in the middle": (
        b'[{"a": 1} {"a": 2}]',
        "f.json",
        "not JSON at line 1: Expecting ',' delimiter; fix it",
    ),
    "a Git LFS pointer": (POINTER, "f.csv", "a Git LFS pointer, not the file; `git lfs pull` in its folder"),
    "a Git LFS pointer to Parquet": (POINTER, "f.parquet", "a Git LFS pointer"),
    "an empty list": (b"[]", "f.json", "no question in it"),
    "no question at all": (b'{"data": []}', "f.json", "no question in it"),
    "empty file": (b"", "f.json", "no question in it"),
    "an empty object": (b"{}", "f.json", "no question in it"),
    "empty JSONL": (b"\n", "f.jsonl", "no question in it"),
    "empty CSV": (b"", "f.csv", "no question in it"),
    "one column": (b"question\nWho?\n", "f.csv", r"one column only \(question\); separate fields by commas"),
    "cp1252": (
        "question,context,answer\nOù?,Ada.,Ada\n".encode("cp1252"),
        "f.csv",
        r"line 2: the field 'question' is not UTF-8 \(iconv -f cp1252 -t utf-8 would convert the file",
    ),
    "half of UTF-16": ("[]".encode("utf-16")[:-1], "f.json", "it begins as UTF-16, but"),
    "a spreadsheet": (b"PK", "f.xlsx", "a spreadsheet; save it as CSV in UTF-8"),
    "an old spreadsheet": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "f.csv", "a spreadsheet; save it as CSV in UTF-8"),
    "nested too deeply": (b"[" * 100_000, "f.json", "nested too deeply"),
    "truncated gzip": (gzip.compress(json.dumps(GOOD).encode())[:-9], "f.json.gz", "cannot be read"),
    "unknown kind": (b"a,b", "f.txt", "unknown kind of file"),
    "truncated JSONL line": (
        b'{"id": "a",\n',
        "f.jsonl",
        r"line 1: not JSON \(Expecting property name enclosed in double quotes at character 13\)",
    ),
    "not UTF-8 JSONL": (
        b'{"question": "\xfc", "context": "a", "answer": "a"}',
        "f.jsonl",
        "line 1: the field 'question' is not UTF-8",
    ),
    "names that are not UTF-8": (
        "question;context;r\xe9ponse\n".encode("latin-1"),
        "f.csv",
        "the line with the names is not UTF-8",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_line(case: str, tmp_path: Path) -> None:
    content, name, message = BAD_FILES[case]
    with pytest.raises(UserError, match=message) as caught:
        read_examples(write(tmp_path, content, name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_bad_records_of_a_file_are_counted_in_its_error_and_listed_when_skipped(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"id": "a", "question": "When?", "context": CONTEXT, "answer": "1913"},
        {"id": "b", "question": "\ud800", "context": CONTEXT * 20, "answer": {"text": "1912", "answer_start": 3}},
        "no object",
        {"id": "c", "question": "When?", "context": CONTEXT, "answer": "1913"},
        {"id": "d", "question": "When?", "context": CONTEXT, "answer": "1912"},
    ]
    path = write(tmp_path, "\n".join([*map(json.dumps, rows), "{"]).encode(), "f.jsonl")
    more = "and 4 more bad records: 1 answer not located, 1 misplaced answer, 1 wrong type, 1 not JSON; fix it"
    with pytest.raises(UserError, match=rf"line 1 \(id 'a'\): the answer '1913' is not in .*, {more}"):
        read_examples(path)
    bad = [record.row() for record in read_examples(path, "skip").bad]
    assert [row["record"] for row in bad] == [
        "line 1 (id 'a')",
        "line 2 (id 'b')",
        "line 3",
        "line 4 (id 'c')",
        "line 6",
    ]
    assert [row["kind"] for row in bad[1:3]] == ["misplaced answer", "wrong type"]
    assert bad[0] == {
        "file": path, "record": "line 1 (id 'a')", "kind": "answer not located",
        "reason": "the answer '1913' is not in the context, and has no answer_start",
        "was": {"id": "a", "question": "When?", "context": CONTEXT, "answer": "1913"},
    }  # fmt: skip
    assert bad[1]["was"]["answer"] == {"text": "1912", "answer_start": 3}
    assert bad[1]["was"]["context"] == f"{(CONTEXT * 20)[:300]}…"
    assert (bad[2]["was"], bad[4]["was"]) == ("no object", "{")


@pytest.mark.parametrize(
    ("answers", "more", "words"),
    [
        ([], {}, ""),
        ({"text": [], "answer_start": []}, {}, ""),
        ([], {"is_impossible": True}, ""),
        ("", {}, "1 with an empty answer"),
        ([{"text": "", "answer_start": -1}], {}, "1 with an empty answer"),
        ([], {"is_impossible": False}, "1 marked answerable, but with an empty answer"),
        ([{"text": "1912", "answer_start": 30}], {"is_impossible": 1}, "1 marked unanswerable, but with an answer"),
        ([{"text": "1912", "answer_start": 30}], {"answerable": "no"}, "1 marked unanswerable, but with an answer"),
        ([], {"answerable": False}, ""),
        ([], {"no_answer": True}, ""),
    ],
)
def test_an_answer_that_the_file_does_not_clearly_deny_is_reported(
    answers: Any, more: dict[str, Any], words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, broken(answers=answers, **more))
    assert [example.is_impossible for example in read_examples(path).examples] == [False, True]
    notes = [message for record in caplog.records if "as unanswerable" in (message := record.getMessage())]
    assert notes == ([f"{path}: questions taken as unanswerable: {words}"] if words else [])


def test_one_object_in_place_of_a_list_is_a_list_of_one(tmp_path: Path) -> None:
    [paragraph] = GOOD["data"][0]["paragraphs"]
    question = paragraph["qas"][0]
    for content in ({"paragraphs": paragraph}, {"paragraphs": [{**paragraph, "qas": question}]}):
        assert read_examples(write(tmp_path, {"data": [content]})).examples[0].id == "a"


def test_copied_ids_are_renamed_where_records_are_repaired_or_only_asked(tmp_path: Path) -> None:
    rows = [{"id": name, "question": "When?", "context": CONTEXT, "answer": "1912"} for name in ("a", "a", "a-2", "a")]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)).encode(), "f.jsonl")
    for read in (read_examples(path, "repair"), read_examples(path, need="nothing")):
        assert [example.id for example in read.examples] == ["a", "a-3", "a-2", "a-4"]
        assert [(row["record"], row["kind"], row["is"]) for row in read.repairs] == [
            ("line 2 (id 'a')", "repeated id", {"id": "a-3"}), ("line 4 (id 'a')", "repeated id", {"id": "a-4"}),
        ]  # fmt: skip


def test_a_context_is_held_once_whatever_its_questions(tmp_path: Path) -> None:
    rows = [{"id": name, "question": "When?", "context": CONTEXT, "answers": [{"text": "1912"}]} for name in "ab"]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    one, other = read_examples(write(tmp_path, content, "f.jsonl")).examples
    assert one.context is other.context


def test_json_jsonl_and_gzip_hold_the_same_examples(tmp_path: Path) -> None:
    lists: list[dict[str, Any]] = []
    hub: list[dict[str, Any]] = []
    for name, question, text in (("a", "Who built it?", "Ada Brill"), ("b", "When?", "1912")):
        row, start = {"id": name, "question": question, "context": CONTEXT, "title": "t"}, CONTEXT.index(text)
        lists.append({**row, "answers": [{"text": text, "answer_start": start}]})
        hub.append({**row, "answers": {"text": [text], "answer_start": [start]}})
    wanted = read_examples(write(tmp_path, GOOD)).examples
    assert [example.id for example in wanted] == ["a", "b"]
    for rows in (lists, hub):
        text = "\ufeff" + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        assert read_examples(write(tmp_path, text.encode(), "f.jsonl")).examples == wanted
        assert read_examples(write(tmp_path, gzip.compress(text.encode()), "f.jsonl.gz")).examples == wanted
    assert read_examples(write(tmp_path, gzip.compress(json.dumps(GOOD).encode()), "f.json.gz")).examples == wanted


def test_tables_hold_the_same_examples(tmp_path: Path) -> None:
    """With columns of any name, without answer_start where the answer occurs once, packed or not."""
    wanted = read_examples(write(tmp_path, GOOD)).examples
    rows = [
        {
            "Q": e.question, "text": e.context, "gold": e.answers[0].text, "at": e.answers[0].answer_start, "key": e.id,
            "title": e.title,
        }
        for e in wanted
    ]  # fmt: skip
    columns = Columns(id="key", question="Q", context="text", answer="gold", answer_start="at")
    for kind, delimiter in (("csv", ","), ("tsv", "\t")):
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows([rows[0], {**rows[1], "at": ""}])
        content = text.getvalue().encode()
        for name, packed in (("f", content), ("f.gz", gzip.compress(content)), ("f.zst", zstandard.compress(content))):
            stem, _, end = name.partition(".")
            path = write(tmp_path, packed, f"{stem}.{kind}.{end}".rstrip("."))
            assert read_examples(path, columns=columns).examples == wanted
    for table in (rows, [{**row, "gold": [row["gold"]], "at": [row["at"]]} for row in rows]):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "f.parquet")
        assert read_examples(str(tmp_path / "f.parquet"), columns=columns).examples == wanted
    lines = "\n".join(json.dumps(row) for row in (rows[0], {**rows[1], "at": None}))
    assert read_examples(write(tmp_path, lines.encode(), "f.jsonl"), columns=columns).examples == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,q,context\n1,a,b\n", r"no column 'question' \(there: id, q, context\); give data\.columns\.question=NAME"),
        ("question,context,answer\na,b\n", "line 2: 2 fields, not 3"),
        (
            "question,context,answer\na,b b,b\n",
            r"more than once .* \(there: question, context, answer\); fix it or give data\.columns\.answer_start=NAME",
        ),
        ("question,context,answer\na,b b,c\n", "line 2: the answer 'c' is not in the context"),
        ('question,context,answer\n"a,b,c\n', "line 2: unexpected end of data; fix the quotes of it"),
        ("question,context,answer\n\xe9,b,b\n", "not UTF-8"),
    ],
)
def test_tables_that_are_wrong_are_named(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_examples(write(tmp_path, content.encode("latin-1"), "f.csv"))


@given(st.lists(st.integers(1, 5), min_size=2, max_size=30), st.floats(0.05, 0.5), st.integers(0, 99))
def test_a_split_takes_whole_paragraphs(sizes: list[int], share: float, seed: int) -> None:
    examples = [
        Example(id=f"{paragraph}-{row}", question="q", context=f"c{paragraph}")
        for paragraph, size in enumerate(sizes)
        for row in range(size)
    ]
    train, validation = split_by_paragraph(examples, share, seed)
    assert sorted(train + validation, key=examples.index) == examples
    assert not {example.context for example in train} & {example.context for example in validation}
    assert abs(len(validation) - share * len(examples)) <= 5
    assert split_by_paragraph(examples, share, seed) == (train, validation)


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


def test_limit_counts_questions_over_all_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [write(tmp_path, GOOD, "one.json"), write(tmp_path, GOOD, "two.json")]
    assert [e.id for e in read_examples(files, limit=1).examples] == ["a"]
    assert len(read_examples(files, limit=3).examples) == 3
    assert [record.getMessage() for record in caplog.records] == [f"data.limit=1 is reached; not read: {files[1]}"]


def test_a_prediction_needs_no_answers(tmp_path: Path) -> None:
    path = write(tmp_path, broken(answers=None))
    assert read_examples(path, need="nothing").examples[1].answers == ()


def test_ids_that_restart_in_every_paragraph_are_numbered_by_it(tmp_path: Path) -> None:
    paragraphs = [(f"{CONTEXT} {n}", [("1", "Who built it?", "Ada Brill"), ("2", "When?", "1912")]) for n in range(3)]
    found = read_examples(write(tmp_path, squad(*paragraphs))).examples
    assert [example.id for example in found] == [f"0.{n}/{name}" for n in range(3) for name in "12"]
    paragraphs[1][1][1] = ("1", "When?", "1912")  # twice in one paragraph: a mistake
    with pytest.raises(UserError, match=r"paragraph 1, question 0 .*: the id '1' is at article 0, paragraph 0, q"):
        read_examples(write(tmp_path, squad(*paragraphs)))


def test_a_reference_without_a_place_is_a_reference(tmp_path: Path) -> None:
    answers = [{"text": "in 1912", "answer_start": 3}, {"text": "1912", "answer_start": 30}, {"text": "the year 1912"}]
    read = read_examples(write(tmp_path, broken(answers=answers)))
    example = read.examples[1]
    assert [(answer.text, answer.answer_start) for answer in example.answers] == [
        ("in 1912", None), ("1912", 30), ("the year 1912", None),
    ]  # fmt: skip
    assert (example.label, len(read.unplaced)) == ((30, 34), 2)


def test_white_space_around_an_answer_does_not_matter(tmp_path: Path) -> None:
    for answer in ({"text": "1912 "}, {"text": "1912 ", "answer_start": 30}, {"text": " 1912\n", "answer_start": 30}):
        assert read_examples(write(tmp_path, broken(answers=[answer]))).examples[1].answers == (("1912", 30),)


def test_an_answer_that_cannot_be_read_is_listed_as_the_file_has_it(tmp_path: Path) -> None:
    """Such an answer is no reason to refuse a prediction."""
    wrong = {"query": "Who?", "document": {"content": CONTEXT}, "answer": {"answer": "Ada"}, "is_correct_answer": False}
    (tmp_path / "labels.json").write_text(json.dumps([{**wrong, "is_correct_answer": True}, wrong]))
    [bad] = read_examples(str(tmp_path / "labels.json"), "skip", need="texts").bad
    assert (bad.kind, bad.was) == ("not accepted", {"question": "Who?", "context": CONTEXT, "answer": wrong["answer"]})
    assert len(read_examples(str(tmp_path / "labels.json"), need="nothing").examples) == 2


def test_a_score_needs_no_place_and_a_prediction_no_answer(tmp_path: Path) -> None:
    path = write(tmp_path, broken(answers=[{"text": "Ada Bril", "answer_start": 3}]))
    assert read_examples(path, need="texts").examples[1].answers[0].text == "Ada Bril"
    path = write(tmp_path, broken(answers={"text": 7.5, "answer_start": "x"}, is_impossible="what"))
    assert read_examples(path, need="nothing").examples[1].answers == ()


def test_small_shifts_are_repaired_and_listed(tmp_path: Path) -> None:
    context = "Cafe\u0301 Brill was\u00a0built in 1912. It was built in grey stone, built and built again."
    cases = {
        "a character off": ("1912", 30, 25, "1912", "place"),
        "a no-break space": ("was built", 11, 12, "was\u00a0built", "spelling"),
        "a mark": ("Cafe Brill", 0, 0, "Cafe\u0301 Brill", "spelling"),
        "a normal form": ("Café Brill", 1, 0, "Cafe\u0301 Brill", "spelling"),
        "two near": ("built", 62, 0, "", ""),
        "further away": ("1912", 4, 25, "1912", "far"),
        "another case": ("Was built", 11, 12, "was\u00a0built", "case"),
        "another case at its place": ("It WAS", 31, 31, "It was", "case"),
        "several, and none near": ("built", 90, 0, "", ""),
        "nowhere": ("steel", 4, 0, "", ""),
    }
    for what, (text, start, at, there, kind) in cases.items():
        question = {"id": "a", "question": "q", "answers": [{"text": text, "answer_start": start}]}
        good = {"id": "b", "question": "q", "answers": [{"text": "grey stone"}]}
        data = {"data": [{"paragraphs": [{"context": context, "qas": [question, good]}]}]}
        read = read_examples(write(tmp_path, data), "repair")
        if not kind:
            assert (read.skipped, len(read.examples), read.repairs) == ({"misplaced answer": 1}, 1, []), what
            continue
        assert [(a.text, a.answer_start) for a in read.examples[0].answers] == [(there, at)], what
        assert read.repairs == [
            {
                "file": str(tmp_path / "file.json"), "record": "article 0, paragraph 0, question 0 (id 'a')",
                "kind": kind,
                "was": {"text": text, "answer_start": start}, "is": {"text": there, "answer_start": at},
            }
        ]  # fmt: skip


def test_an_answer_column_that_is_named_wins(tmp_path: Path) -> None:
    path = write(tmp_path, b"question,context,answers,answer\nWho?,Ada built it.,see there,Ada\n", "f.csv")
    assert read_examples(path, columns=Columns(answer="answer")).examples[0].answers[0].text == "Ada"


def test_a_name_that_is_recognised_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{"qid": name, "question": "When?", "context": CONTEXT, "answer_text": "1912"} for name in "ab"]
    path = write(tmp_path, "\n".join(map(json.dumps, rows)).encode(), "f.jsonl")
    assert [example.id for example in read_examples(path).examples] == ["a", "b"]
    notes = [record.getMessage() for record in caplog.records]
    assert notes == [f"{path}: read 'qid' as id, 'answer_text' as answer; data.columns.KEY=NAME chooses other columns"]
    caplog.clear()
    read_examples(write(tmp_path, b"Title,Answerable,id,question,context,answer\nt,yes,a,Who?,Ada,Ada\n", "f.csv"))
    [note] = caplog.messages
    assert "read 'Answerable' as not is_impossible; data" in note


def test_a_missing_file_and_an_empty_glob_are_named(tmp_path: Path) -> None:
    for name in ("none.json", "*.json"):
        with pytest.raises(UserError, match="no such file"):
            find_files(str(tmp_path / name))


@pytest.mark.parametrize("name", ["xquad.en.json", "xquad.ar.json", "squadshifts.new_wiki.json"])
def test_real_files_are_read_whole(name: str) -> None:
    read = read_examples(str(real_data(name)))
    assert len(read.examples) == (1190 if name.startswith("xquad") else 7938)
    assert (read.skipped, read.unplaced, read.repairs) == (Counter(), [], [])


def asked(context: str, question: str) -> Example:
    return Example(id="x", question=question, context=context)


def test_what_an_evaluation_shares_with_training_is_counted_and_reported() -> None:
    training = [asked("Ada built  it.", "Who ?"), asked("Ada built  it.", "What ?"), asked("A flood came.", "When ?")]
    other = asked("The bridge fell.", "Who ?")
    assert overlap(training, [other]).note() == ""
    found = overlap(training, [asked("ada built it.", "who ?"), asked("Ada\nbuilt it.", "Why ?"), other])
    assert found == Overlap(contexts=1, of_contexts=2, questions=2, repeated=1, of_questions=3)
    assert found.note().startswith("1 of 2 contexts of the evaluation, with 2 of 3 questions, are in the training data")
    assert "All 3 questions of the evaluation are training questions" in overlap(training, training).note()


@pytest.mark.slow
def test_a_large_evaluation_is_compared_with_its_training_data_in_seconds() -> None:
    contexts = [f"{number} {'a word of it ' * 60}" for number in range(20_000)]
    training = [asked(contexts[number // 5], f"What of {number} ?") for number in range(100_000)]
    begin = time.process_time()
    assert overlap(training, training[::-1]).repeated == 100_000
    assert time.process_time() - begin < 10  # all pairs would take hours


def test_reading_leaves_the_garbage_collector_as_it_was(tmp_path: Path) -> None:
    good, bad = write(tmp_path, GOOD), write(tmp_path, b"{}", "bad.json")
    try:
        for enabled in (True, False):
            (gc.enable if enabled else gc.disable)()
            read_examples(good)
            assert gc.isenabled() == enabled
            with pytest.raises(UserError):
                read_examples(bad)
            assert gc.isenabled() == enabled
    finally:
        gc.enable()
