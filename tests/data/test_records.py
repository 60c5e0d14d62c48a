"""Every kind of file and shape of records: the same question gives the same example."""

import csv
import gzip
import io
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import datasets
import pandas
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.paths import ROOT
from qa.data.example import Example, ReferenceAnswer
from qa.data.reading import tables
from qa.data.reading.examples import read_examples
from qa.data.reading.record import Columns
from qa.errors import UserError

Row = dict[str, Any]  # id, question, context, answers: [[text, start]]
Writer = TypeVar("Writer", bound=Callable[..., Any])
WRITERS: dict[str, Callable[[list[Row]], bytes]] = {}


def writes(name: str) -> Callable[[Writer], Writer]:
    """Adds a way to write rows as a file of this name."""

    def add(writer: Writer) -> Writer:
        def as_bytes(rows: list[Row]) -> bytes:
            content = writer(rows)
            return content if isinstance(content, bytes) else str(content).encode()

        WRITERS[f"{writer.__name__}/{name}"] = as_bytes
        return writer

    return add


def named(row: Row, **more: Any) -> Row:
    return {key: row[key] for key in ("id", "question", "context")} | more


def listed(row: Row) -> Row:
    return named(row, answers=[{"text": text, "answer_start": start} for text, start in row["answers"]])


def hub(row: Row) -> Row:
    texts, starts = [text for text, _ in row["answers"]], [start for _, start in row["answers"]]
    return named(row, answers={"text": texts, "answer_start": starts})


@writes("a.json")
@writes("a.json.gz")
def squad_json(rows: list[Row]) -> Any:
    return json.dumps({"data": [{"paragraphs": [{"context": r["context"], "qas": [listed(r)]}]} for r in rows]})


@writes("a.json")
def squad_v2(rows: list[Row]) -> Any:
    qas = [listed(r) | {"is_impossible": not r["answers"]} for r in rows]
    return json.dumps({"data": [{"title": "t", "paragraphs": [{"context": q["context"], "qas": [q]} for q in qas]}]})


@writes("a.json")
def rows_under_data(rows: list[Row]) -> Any:
    return json.dumps({"version": 2.0, "data": [hub(r) for r in rows]})


@writes("a.json")
@writes("a.jsonl")
def a_list(rows: list[Row]) -> Any:
    return json.dumps([listed(r) for r in rows], indent=1)


@writes("A.JSON")
def paragraphs(rows: list[Row]) -> Any:
    return json.dumps(
        [{"context": r["context"], "qas": [{k: v for k, v in listed(r).items() if k != "context"}]} for r in rows]
    )


@writes("a.json")
def by_columns(rows: list[Row]) -> Any:
    return pandas.DataFrame([listed(r) for r in rows]).to_json()


@writes("a.jsonl")
@writes("a.ndjson")
@writes("a.JSONLINES")
@writes("a.json")
def lines(rows: list[Row]) -> Any:
    end = "" if len(rows) > 1 else "\n\n"
    return "\ufeff" + "".join(json.dumps(hub(r), ensure_ascii=False) + "\n" for r in rows) + end


@writes("a.jsonl")
def lines_utf16(rows: list[Row]) -> Any:
    return "".join(json.dumps(hub(r), ensure_ascii=False) + "\n" for r in rows).encode("utf-16")


@writes("a.csv")
@writes("a.csv.gz")
def table_without_a_mark(rows: list[Row]) -> Any:
    return table([hub(r) for r in rows]).encode("utf-16-le")


@writes("a.jsonl")
def squad_in_one_line(rows: list[Row]) -> Any:
    return squad_json(rows)


@writes("a.jsonl")
def mrqa(rows: list[Row]) -> Any:
    head = json.dumps({"header": {"dataset": "x"}})
    made = []
    for r in rows:
        spans = [{"text": t, "char_spans": [[s, s + len(t) - 1]]} for t, s in r["answers"]]
        question = {"qid": r["id"], "question": r["question"], "answers": [t for t, _ in r["answers"]]}
        made.append(json.dumps({"id": "", "context": r["context"], "qas": [question | {"detected_answers": spans}]}))
    return "\n".join([head, *made])


@writes("a.parquet")
def mrqa_of_the_hub(rows: list[Row]) -> Any:
    made = []
    for r in rows:
        spans = [{"start": [s], "end": [s + len(t) - 1]} for t, s in r["answers"]]
        detected = {"text": [t for t, _ in r["answers"]], "char_spans": spans or [{"start": [0], "end": [0]}][:0]}
        made.append(named(r, answers=detected["text"], detected_answers=detected))
    return parquet(made)


@writes("a.json")
def haystack(rows: list[Row]) -> Any:
    made = [
        {
            "id": r["id"], "query": r["question"], "document": {"content": r["context"]}, "is_correct_answer": True,
            "answer": [{"answer": t, "offsets_in_document": [{"start": s}]} for t, s in r["answers"]],
        }
        for r in rows
    ]  # fmt: skip
    return json.dumps(made)


def label_studio_rows(rows: list[Row]) -> list[tuple[Row, list[Row]]]:
    """Their data and spans, in UTF-16 units."""

    def units(text: str) -> int:
        return len(text.encode("utf-16-le")) // 2

    return [
        (
            {"id": r["id"], "question": r["question"], "text": r["context"]},
            [
                {"start": units(r["context"][:s]), "end": units(r["context"][: s + len(t)]), "text": t, "labels": ["A"]}
                for t, s in r["answers"]
            ],
        )
        for r in rows
    ]


@writes("a.json")
def label_studio(rows: list[Row], annotations: str = "annotations") -> Any:
    made = [
        {
            "id": 7,
            "data": data,
            annotations: [
                {"was_cancelled": True, "result": [{"value": {"start": 0, "end": 1, "text": "no"}}]},
                {"was_cancelled": False, "result": [{"value": value, "type": "labels"} for value in values]},
            ],
        }
        for data, values in label_studio_rows(rows)
    ]
    return json.dumps(made)


@writes("a.json")
def label_studio_of_old(rows: list[Row]) -> Any:
    return label_studio(rows, "completions")


@writes("a.json")
def label_studio_min(rows: list[Row]) -> Any:
    made = [{**d, "label": v, "annotator": 1, "annotation_id": 3} for d, v in label_studio_rows(rows)]
    return json.dumps(made)


@writes("a.csv")
def label_studio_csv(rows: list[Row]) -> Any:
    return table([{"annotation_id": 3, **d, "label": json.dumps(v)} for d, v in label_studio_rows(rows)])


def spans(row: Row) -> list[Row]:
    return [{"start": s, "end": s + len(t), "label": "A", "token_start": 0} for t, s in row["answers"]]


@writes("a.jsonl")
def prodigy(rows: list[Row]) -> Any:
    made = [
        {
            "text": r["context"],
            "meta": {"question": r["question"], "id": r["id"]},
            "spans": spans(r),
            "answer": "accept",
        }
        for r in rows
    ]
    return "\n".join(map(json.dumps, made))


@writes("a.jsonl")
def doccano(rows: list[Row]) -> Any:
    made = [
        {
            "id": r["id"],
            "text": r["context"],
            "question": r["question"],
            "label": [[*list(s.values())[:3]] for s in spans(r)],
        }
        for r in rows
    ]
    return "\n".join(map(json.dumps, made))


@writes("a.jsonl")
def doccano_first(rows: list[Row]) -> Any:
    made = [
        {
            "text": r["context"], "meta": {"id": r["id"], "question": r["question"]},
            "annotations": [{"label": 3, "start_offset": s["start"], "end_offset": s["end"]} for s in spans(r)],
        }
        for r in rows
    ]  # fmt: skip
    return "\n".join(map(json.dumps, made))


@writes("a.csv")
def doccano_data(rows: list[Row]) -> Any:
    made = [
        {
            "id": r["id"], "data": r["context"], "question": r["question"],
            "label": json.dumps([[*list(s.values())[:3]] for s in spans(r)]),
        }
        for r in rows
    ]  # fmt: skip
    return table(made)


@writes("a.jsonl")
def brat(rows: list[Row]) -> Any:
    made = [
        {
            "id": r["id"], "text": r["context"], "question": r["question"],
            "entities": [[f"T{n}", "A", [[s["start"], s["end"]]]] for n, s in enumerate(spans(r))],
        }
        for r in rows
    ]  # fmt: skip
    return "\n".join(map(json.dumps, made))


@writes("a.json")
def argilla(rows: list[Row]) -> Any:
    return json.dumps(
        [
            {
                "id": r["id"], "fields": {"question": r["question"], "text": r["context"]},
                "responses": {"answer": [{"value": spans(r)}], "stars": [{"value": 3}]},
            }
            for r in rows
        ]
    )  # fmt: skip


@writes("a.jsonl")
def argilla_1(rows: list[Row]) -> Any:
    made = [
        {
            "id": r["id"], "fields": {"question": r["question"], "text": r["context"]},
            "responses": [
                {"values": {"answer": {"value": [{"start": 0, "end": 1}]}}, "status": "discarded"},
                {"values": {"answer": {"value": spans(r)}, "stars": {"value": 3}}, "status": "submitted"},
            ],
        }
        for r in rows
    ]  # fmt: skip
    return "\n".join(map(json.dumps, made))


@writes("a.jsonl")
def start_end(rows: list[Row]) -> Any:
    made = [named(r, answers=[{"text": t, "start": s, "end": s + len(t)} for t, s in r["answers"]]) for r in rows]
    return "\n".join(map(json.dumps, made))


@writes("a.jsonl")
def doccano_relations(rows: list[Row]) -> Any:
    made = [
        {
            "id": r["id"], "text": r["context"], "question": r["question"], "relations": [],
            "entities": [{"id": 1, "start_offset": s["start"], "end_offset": s["end"]} for s in spans(r)],
        }
        for r in rows
    ]  # fmt: skip
    return "\n".join(map(json.dumps, made))


@writes("a.json")
def pandas_split(rows: list[Row]) -> Any:
    return pandas.DataFrame([hub(r) for r in rows]).to_json(orient="split")


@writes("a.json")
def pandas_index(rows: list[Row], orient: Any = "index") -> Any:
    return pandas.DataFrame([hub(r) for r in rows]).set_index("id").to_json(orient=orient)


@writes("a.json")
def pandas_index_of_columns(rows: list[Row]) -> Any:
    return pandas_index(rows, "columns")


@writes("a.json")
def pandas_index_of_split(rows: list[Row]) -> Any:
    return pandas_index(rows, "split")


@writes("a.json")
def hub_viewer(rows: list[Row]) -> Any:
    made = [{"row_idx": number, "row": hub(r), "truncated_cells": []} for number, r in enumerate(rows)]
    return json.dumps({"features": [], "rows": made, "num_rows_total": len(rows)})


def table(rows: list[Row], separator: str = ",") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter=separator)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@writes("a.csv")
@writes("A.CSV")
@writes("a.csv.zst")
@writes("a.csv.zip")
def python_cells(rows: list[Row]) -> Any:
    return table([hub(r) for r in rows])


@writes("a.csv")
def json_cells(rows: list[Row]) -> Any:
    return table([r | {"answers": json.dumps(r["answers"])} for r in map(hub, rows)])


@writes("a.csv")
def numpy_cells(rows: list[Row]) -> Any:
    cells = [
        f"{{'text': array({texts!r}, dtype=object), 'answer_start': array({starts!r})}}"
        for texts, starts in (hub(r)["answers"].values() for r in rows)
    ]
    return table([named(r, answers=cell) for r, cell in zip(rows, cells, strict=True)])


@writes("a.csv")
def semicolons(rows: list[Row]) -> Any:
    return table([hub(r) for r in rows], ";")


@writes("a.tsv")
@writes("a.csv")
def tabs_utf16(rows: list[Row]) -> Any:
    return table([hub(r) for r in rows], "\t").encode("utf-16")


@writes("a.csv")
def excel(rows: list[Row]) -> Any:
    return "sep=;\n" + table([hub(r) for r in rows], ";") + ";;;\n;;;\n"


@writes("a.csv")
def two_columns(rows: list[Row]) -> Any:
    made = [named(r, **hub(r)["answers"]) for r in rows]
    return table([r | {"answer_text": r.pop("text")} for r in made])


@writes("a.csv")
def flattened(rows: list[Row]) -> Any:
    made = [named(r, **{f"answers.{key}": value for key, value in hub(r)["answers"].items()}) for r in rows]
    return table(made)


@writes("a.arrow")
def saved_to_disk(rows: list[Row]) -> Any:
    buffer = io.BytesIO()
    whole = pyarrow.Table.from_pylist([hub(r) for r in rows])
    with pyarrow.ipc.new_stream(buffer, whole.schema) as writer:
        writer.write_table(whole)
    return buffer.getvalue()


@writes("a.feather")
def feather(rows: list[Row]) -> Any:
    buffer = io.BytesIO()
    pandas.DataFrame([listed(r) for r in rows]).to_feather(buffer)
    return buffer.getvalue()


def parquet(rows: list[Row]) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


@writes("a.parquet")
def structs(rows: list[Row]) -> Any:
    return parquet([hub(r) for r in rows])


@writes("a.parquet")
def lists_of_structs(rows: list[Row]) -> Any:
    return parquet([listed(r) for r in rows])


@writes("a.parquet")
def pandas_frame(rows: list[Row]) -> Any:
    frame = pandas.DataFrame([hub(r) for r in rows])
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def packed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content)
    if name.endswith(".zst"):
        return zstandard.compress(content)
    if name.endswith(".zip"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("inside.csv", content)
        return buffer.getvalue()
    return content


@st.composite
def questions(draw: st.DrawFn, white: str) -> list[Row]:
    """Up to three questions, whose texts have this white space among other letters."""
    words = st.text(st.sampled_from("abcéß 文🙂'\",;क्षि" + white), min_size=1, max_size=8).filter(str.strip)
    rows = []
    for number in range(draw(st.integers(1, 3))):
        before, answer, after = draw(words), draw(words), draw(words)
        context = f"{before}{answer}{after}"
        answers = [[answer, len(before)], [after, len(before + answer)]][: draw(st.integers(0, 2))]
        rows.append({"id": f"q{number}", "question": draw(words), "context": context, "answers": answers})
    return rows


@pytest.mark.parametrize("way", WRITERS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_question_is_the_same_example_in_every_kind_of_file(
    way: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # with both, quoted lines can have as many cells as a table of tabs, and nobody knows which they are
    white = data.draw(st.sampled_from("\t\n")) if way.startswith("tabs") else "\t\n"
    rows = data.draw(questions(white))
    name = way.partition("/")[2]
    path = tmp_path_factory.mktemp("file") / name
    path.write_bytes(packed(name, WRITERS[way](rows)))
    wanted = [
        Example(
            id=row["id"],
            question=row["question"],
            context=row["context"],
            answers=tuple(ReferenceAnswer(text=text, answer_start=start) for text, start in row["answers"]),
            is_impossible=not row["answers"],
        )
        for row in rows
    ]
    found = [example.model_copy(update={"title": None}) for example in read_examples(str(path)).examples]
    assert found == wanted


def answers_or_error(path: Path) -> Any:
    """The answers of a file's first question, or why it is refused."""
    try:
        return [tuple(answer) for answer in read_examples(str(path)).examples[0].answers]
    except UserError as error:
        return str(error)


LABELS = [{"start": 0, "end": 9, "label": "Answer"}, {"start": 0, "end": 35, "label": "Evidence"}]
PLACED = [{"value": {**value, "labels": [value["label"]]}, "from_name": "mark"} for value in LABELS]
BY_TOOL: dict[str, Row] = {
    "mark": {"data": {"text": "Ada Brill built the bridge in 1912.", "question": "Who?"},
             "annotations": [{"result": PLACED}]},
    "spans": {"text": "Ada Brill built the bridge in 1912.", "question": "Who?", "answer": "accept", "spans": LABELS},
    "label": {"text": "Ada Brill built the bridge in 1912.", "question": "Who?",
              "label": [[*value.values()] for value in LABELS]},
    "marked": {"fields": {"text": "Ada Brill built the bridge in 1912.", "question": "Who?"},
               "responses": {"marked": [{"value": LABELS}]}},
}  # fmt: skip


@pytest.mark.parametrize("field", BY_TOOL)
def test_of_several_labels_the_user_names_the_one_of_the_answers(field: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps([BY_TOOL[field]]))
    choice = (
        rf"several labels \('Answer', 'Evidence'\); give data\.columns\.answer=NAME .*columns\.answer={field} for all"
    )
    with pytest.raises(UserError, match=choice):
        read_examples(str(path), "skip")
    [example] = read_examples(str(path), columns=Columns(answer="Answer")).examples
    assert [tuple(answer) for answer in example.answers] == [("Ada Brill", 0)]
    assert len(read_examples(str(path), columns=Columns(answer=field)).examples[0].answers) == 2
    path.write_text(
        json.dumps([BY_TOOL[field], json.loads(json.dumps(BY_TOOL[field]).replace(json.dumps(LABELS), "[]"))])
    )
    assert [example.answers for example in read_examples(str(path), need="nothing").examples] == [(), ()]
    path.write_text(json.dumps([BY_TOOL[field]]))
    with pytest.raises(UserError, match=r"nothing has the label 'Anwser' \(there: Answer, Evidence\)"):
        read_examples(str(path), columns=Columns(answer="Anwser"))


@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        (["Ada Brill"], [("Ada Brill", 0)]),
        ("Ada Brill", [("Ada Brill", 0)]),
        ([[0, 9]], [("Ada Brill", 0)]),
        ([], "questions taken as unanswerable: 1 without a label"),
        (None, "questions taken as unanswerable: 1 without a label"),
        (["POSITIVE"], "the answer 'POSITIVE' is not in the context"),
        ([3], "a label that is no span and no text: 3"),
        ({"a": 1}, "a label that is no span and no text: {'a': 1}"),
        ([["T1", "A", [[0, 3], [4, 9]]]], "a label that is no span and no text"),
        ([[30, 99, "A"]], "the label from 30 to 99 is not on the text"),
        ([[-5, 9, "A"]], "the label from -5 to 9 is not on the text"),
        ([[9, 9, "A"]], "the label from 9 to 9 is not on the text"),
    ],
)
def test_a_label_is_read_or_named_and_never_taken_for_no_answer(
    label: Any, wanted: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = {"id": 1, "text": "Ada Brill built the bridge in 1912.", "question": "Who?", "label": label}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    read = answers_or_error(tmp_path / "a.jsonl")
    assert wanted in f"{read} {caplog.text}" if isinstance(wanted, str) else read == wanted


def test_what_is_chosen_beside_a_text_is_no_span_but_may_be_a_flag(tmp_path: Path) -> None:
    choice = {"value": {"choices": ["yes"]}, "from_name": "impossible", "to_name": "text", "type": "choices"}
    for name, refused in (("impossible", False), ("clarity", True)):
        task = TASK | {"annotations": [{"result": [choice | {"from_name": name}]}]}
        (tmp_path / "a.json").write_text(json.dumps([task]))
        if refused:
            with pytest.raises(UserError, match="nothing is marked in its text; it has clarity"):
                read_examples(str(tmp_path / "a.json"))
        else:
            assert read_examples(str(tmp_path / "a.json")).examples[0].is_impossible


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ({"text": "the ferry", "start": 34, "end": 42}, ("the ferry", 34)),
        ({"text": "the ferry", "start_char": 34, "end_char": 43}, ("the ferry", 34)),
        ({"text": "the ferry", "startOffset": "34"}, ("the ferry", 34)),
        ({"answer": "the ferry", "offsets_in_document": [{"start": 34, "end": 43}]}, ("the ferry", 34)),
        ({"text": "the ferry", "span": [34, 43]}, ("the ferry", 34)),
        ({"text": "Ada", "start": 7, "end": 8}, ("Ada", 0)),  # of another unit; it stands once
        ({"text": "the ferry", "start": 7, "end": 9}, "is more than once in the context, and does not begin at 7"),
        ({"text": "the ferry", "token_start": 33}, "is more than once in the context, and has no answer_start"),
    ],
)
def test_a_place_under_another_name_counts_where_the_text_is_there(answer: Row, wanted: Any, tmp_path: Path) -> None:
    row = {"question": "What?", "context": "Ada opened the ferry. Dora closes the ferry."}
    rows = [row | {"answer": answer}, row | {"answers": [answer]}]
    if "answer" not in answer:
        rows.append(row | {"answer": answer["text"], **{key: value for key, value in answer.items() if key != "text"}})
    for content in rows:
        (tmp_path / "a.jsonl").write_text(json.dumps(content))
        read = answers_or_error(tmp_path / "a.jsonl")
        assert wanted in read if isinstance(wanted, str) else read == [wanted]


def test_a_folder_that_datasets_saved_is_read_shard_by_shard(tmp_path: Path) -> None:
    rows = [ADA | {"id": name, "answer": "Ada"} for name in "abc"]
    whole = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name in ("train", "validation")})
    whole.save_to_disk(tmp_path / "saved", num_shards={"train": 2, "validation": 1})
    read = read_examples(str(tmp_path / "saved" / "train"))
    assert [(example.id, example.answers) for example in read.examples] == [(name, (("Ada", 0),)) for name in "abc"]
    splits = f"several splits; give {tmp_path}/saved/train or {tmp_path}/saved/validation"
    with pytest.raises(UserError, match=splits):
        read_examples(str(tmp_path / "saved"))
    datasets.DatasetDict({"test": whole["train"]}).save_to_disk(tmp_path / "one")
    assert len(read_examples(str(tmp_path / "one")).examples) == 3
    [file] = (tmp_path / "one" / "test").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:-200])
    for damage in (lambda: None, file.unlink, lambda: (tmp_path / "one" / "test" / "state.json").write_text("[]")):
        damage()
        with pytest.raises(UserError, match="cannot be read"):
            read_examples(str(tmp_path / "one"))


def test_natural_questions_are_read_by_their_tokens(tmp_path: Path) -> None:
    text = "<P> The bridge of Tollen was built in 1912 by Ada Brill . </P>"
    tokens = text.split(" ")
    long = {"start_token": 0, "end_token": len(tokens)}

    def question(name: int, short: list[tuple[int, int]], long: Row, answer: str = "NONE") -> str:
        annotation = {
            "yes_no_answer": answer,
            "long_answer": long,
            "short_answers": [{"start_token": begin, "end_token": end} for begin, end in short],
        }
        row = {"example_id": name, "question_text": "who ?", "document_text": text, "annotations": [annotation]}
        return json.dumps(row)

    at = tokens.index("Ada")
    nothing = {"start_token": -1, "end_token": -1}
    path = tmp_path / "nq.jsonl"
    lines = [
        question(7, [(at, at + 2)], long),
        question(8, [], nothing),
        question(9, [], long),
        question(10, [], long, "YES"),
    ]
    path.write_text("\n".join(lines))
    read = read_examples(str(path), "skip")
    assert [(e.id, e.is_impossible, e.answers) for e in read.examples] == [
        ("7", False, (ReferenceAnswer(text="Ada Brill", answer_start=text.index("Ada")),)),
        ("8", True, ()),
    ]
    assert read.skipped == {"no short answer": 2}


@pytest.mark.parametrize(
    "row",
    [
        {"document_text": "a", "question_text": "b", "annotations": [{"long_answer": 3}]},
        {"context": "a", "qas": [{"question": "b", "detected_answers": [{"char_spans": [["x"]]}]}]},
        {"data": {"text": "a", "question": "b"}, "annotations": "none"},
    ],
)
def test_a_shape_that_is_broken_is_one_bad_record(row: Row, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([row]))
    with pytest.raises(UserError, match=r"row 1: looks like .* but cannot be read as such"):
        read_examples(str(tmp_path / "a.json"))


def test_a_task_that_nobody_annotated_is_named(tmp_path: Path) -> None:
    task = {"data": {"text": "a", "question": "b"}, "annotations": [{"was_cancelled": True, "result": []}]}
    (tmp_path / "a.json").write_text(json.dumps([task]))
    with pytest.raises(UserError, match="the task has no annotation that was submitted"):
        read_examples(str(tmp_path / "a.json"))


ADA = {"id": "a", "question": "Who?", "context": "Ada Brill built the bridge in 1912."}
TASK: Row = {"data": {"text": ADA["context"], "question": "Who?"}, "id": 1}


@pytest.mark.parametrize(
    "row",
    [
        TASK | {"annotations": [{"result": []}]},
        {"data": TASK["data"], "annotations": [{"result": []}, {"result": []}]},
        TASK | {"predictions": []},
        {"fields": TASK["data"], "responses": {"answer": [{"value": "Ada"}], "note": [{"value": "Ada"}]}},
        {"text": ADA["context"], "answer": "accept", "_task_hash": 1, "meta": {"question": "Who?"}},
    ],
)
def test_a_task_alone_is_a_list_of_one(row: Row, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(row))
    [example] = read_examples(str(tmp_path / "a.json"), need="nothing").examples
    assert (example.question, example.context) == ("Who?", ADA["context"])


def test_labels_that_cut_words_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As where the end is the last character: nothing else tells it."""
    rows = [TASK["data"] | {"label": [[0, end, "A"]]} for end in (8, 9, 2)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    read_examples(str(tmp_path / "a.jsonl"))
    assert caplog.messages == [f"{tmp_path}/a.jsonl: labels that begin or end inside a word: 2; check their bounds"]


def marked(**value: Any) -> Row:
    return TASK | {"annotations": [{"result": [{"value": value, "to_name": "text"}]}]}


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("a.json", [ADA | {"answers": [], "answer": "Ada"}], [("Ada", 0)]),
        ("a.json", [ADA | {"answers": float("nan"), "answer": "Ada"}], [("Ada", 0)]),
        ("a.json", [ADA | {"answers": ["Ada"], "annotation_id": 7}], [("Ada", 0)]),
        ("a.json", [marked(text=["Ada Brill"])], [("Ada Brill", 0)]),
        ("a.json", [ADA | {"answers": [{"text": " Brill", "answer_start": 4}]}], [("Brill", 4)]),
        ("a.json", [marked(start=4.0, end=9.0, text="Brill")], [("Brill", 4)]),
        ("a.json", [marked(start="/p[1]", end="/p[1]", globalOffsets={"start": 4, "end": 9})], [("Brill", 4)]),
        ("a.json", {k: {"y": v, "x": "no"} for k, v in (ADA | {"answer": "Ada"}).items()}, [("Ada", 0)]),
        ("a.csv", 'id,question,context,answer\na,Who?,"see [3], not 4",[3]\n', [("[3]", 4)]),
        ("a.csv", " id ,Question,context,answer\na,Who?,Ada or Adam,Ada\n", [("Ada", 0)]),
        ("a.csv", "\n\nid,question,context,answer\na,Who?,Ada,Ada\n", [("Ada", 0)]),
        ("a.csv", "id,question,context,answers\na,Who?,Ada,\"[np.str_('Ada'), nan]\"\n", [("Ada", 0)]),
        ("a.csv", "id,question,context,answer,answer_start\na,Who?,Ada,NA,nan\n", []),
        ("a.csv", "id,question,context,text,answer_start\na,Who?,Ada or Ada,Ada,7\n", [("Ada", 7)]),
        ("a.csv", "id,question,context,answer,answer_start\na,Who?,NA it is,NA,0\n", [("NA", 0)]),
    ],
)  # fmt: skip
def test_what_looks_like_something_else_is_read_right(
    name: str, content: Any, wanted: list[tuple[str, int]], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    assert list(read_examples(str(tmp_path / name)).examples[0].answers) == wanted


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", [ADA | {"is_impossible": False, "answer_texts": ["Ada"]}], "answer_texts\\); give data"),
        ("a.json", [ADA | {"context": "yesterday", "answer": "yes"}], "the answer 'yes' is not in the context"),
        ("a.csv", "question,text,answer_start\nWho?,Ada,0\n", "no column 'context'"),
        (
            "a.csv", "Frage,Text\nWho?,Ada\n",
            "no columns 'question' and 'context' \\(there: Frage, Text\\); give data.columns.question=NAME and ",
        ),
        ("a.csv", "id,question,context,answer,answer\na,Who?,Ada,Ada,x\n", "two columns are called 'answer'"),
        (
            "a.jsonl",
            [{"context": "Ada, who", "qas": [ADA | {"detected_answers": [{"text": "Ada", "char_spans": [[1, 3]]}]}]}],
            "the answer 'Ada' is not at answer_start 1",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused(name: str, content: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=message):
        read_examples(str(tmp_path / name))


def test_a_quote_in_a_table_without_quotes_is_a_letter(tmp_path: Path) -> None:
    """Google Sheets writes cells as they are: read as quotes, they would take in the lines that follow."""
    rows = [
        ("1", "Who?", '"Ada" built it', "Ada"),
        ("2", '"What', "a bridge", "bridge"),
        ("3", "When?", 'in "1912"', "1912"),
        ("4", "Why?", '"He said ""no"""', "no"),
    ]
    text = "\r\n".join("\t".join(row) for row in [("id", "question", "context", "answer"), *rows])
    (tmp_path / "a.tsv").write_text(text)
    read = read_examples(str(tmp_path / "a.tsv")).examples
    assert [(e.id, e.question, e.context) for e in read] == [row[:3] for row in rows]
    (tmp_path / "a.tsv").write_text("\n".join(["id\tquestion\tcontext\tanswer", '1\tWho?\t"He said ""no"""\t"no"']))
    [quoted] = read_examples(str(tmp_path / "a.tsv")).examples
    assert (quoted.context, quoted.answers[0].text) == ('He said "no"', "no")


TABLE = [
    [f"q{n}", f"Who is {n}?", f'Here, in {n}, is\n"Ada" Brill.' if n % 7 < 2 else f'In {n}, is "Ada".', "Ada"]
    for n in range(600)
]


@pytest.mark.parametrize(
    ("kind", "was", "now", "reason"),
    [
        ("csv", b'"q300"', b'"q"300', "',' expected after '\"'; fix the quotes of it"),
        ("csv", b'"q300"', b'"q300', "',' expected after '\"'; fix the quotes of it"),
        ("csv", b'300?","', b'300?,"', "',' expected after '\"'; fix the quotes of it"),
        ("csv", b'is ""Ada""."', b'is "Ada"."', "fix the quotes of it"),
        ("csv", b"In 300, is", b"in \xfc, is", "the field 'context' is not UTF-8"),
        ("csv", b'"q300",', b'"q300",,', "5 fields, not 4"),
        ("jsonl", b'"q300",', b'"q300"', "not JSON"),
        ("jsonl", b"In 300, is", b"in \xfc, is", "the field 'context' is not UTF-8"),
        ("tsv", b"is 300?", b"is \xfc?", "the field 'question' is not UTF-8"),
        ("tsv", b"q300\t", b"q300\t\t", "5 fields, not 4"),
        ("json", b"In 300, is", b"in \xfc, is", "the field 'context' is not UTF-8"),
    ],
)
def test_a_broken_row_costs_itself_alone(kind: str, was: bytes, now: bytes, reason: str, tmp_path: Path) -> None:
    names = ["id", "question", "context", "answer"]
    rows = [dict(zip(names, row, strict=True)) for row in TABLE]
    content = io.StringIO()
    csv.writer(content, quoting=csv.QUOTE_ALL).writerows([names, *TABLE])
    written = {
        "csv": content.getvalue(),
        "tsv": "".join("\t".join(row).replace("\n", " ") + "\n" for row in [names, *TABLE]),
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "json": json.dumps(rows),
    }[kind].encode()
    begin = written.rindex(b"{" if kind == "json" else b"\n", 0, written.index(b"q300")) + 1
    path = tmp_path / f"a.{kind}"
    path.write_bytes(written[:begin] + written[begin:].replace(was, now, 1))
    read = read_examples(str(path), "skip", need="texts")
    line = written[:begin].count(b"\n") + 1 if kind != "json" else 301
    assert [(bad.place.partition(" (")[0], reason in bad.reason) for bad in read.bad] == [
        (f"{'row' if kind == 'json' else 'line'} {line}", True)
    ], [bad.problem for bad in read.bad]
    assert [example.id for example in read.examples] == [row[0] for row in TABLE if row[0] != "q300"]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_quote_that_is_never_closed_takes_in_nothing(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"q{n},Who?,Ada built it in {n}.,Ada" for n in range(300)]
    for n in range(rows):
        lines[150 + n] = f'q{150 + n},"Who?,Ada built it.,Ada'
    (tmp_path / "a.csv").write_text("\n".join(["id,question,context,answer", *lines]))
    read = read_examples(str(tmp_path / "a.csv"), "skip", need="texts")
    assert [bad.place for bad in read.bad] == [f"line {152 + n}" for n in range(rows)]
    assert len(read.examples) == 300 - rows
    monkeypatch.setattr(tables, "LONGEST_LINE", 4000)
    (tmp_path / "a.csv").write_text("id,question,context,answer\n" + 'a",x,"y\n' * 400)
    with pytest.raises(UserError, match=r"a\.csv: line \d+: too many quotes that are not closed; fix them"):
        read_examples(str(tmp_path / "a.csv"), "skip", need="texts")


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    lines = ["", "id,question,context,answer", 'a,Who?,"Ada', 'Brill",Ada', "", "b,too few"]
    lines += ['c,Who?,Ada "x" Brill,Ada', ",,,"]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    read = read_examples(str(tmp_path / "a.csv"), "skip")
    assert [e.context for e in read.examples] == ["Ada\nBrill", 'Ada "x" Brill']
    assert read.skipped == {"wrong number of fields": 1}
    with pytest.raises(UserError, match=r"a\.csv: line 6: 2 fields, not 4 as the first line has"):
        read_examples(str(tmp_path / "a.csv"))
    (tmp_path / "a.csv").write_text("\n".join([*lines, 'd,"Who"?,Ada,Ada']))
    assert [bad.place for bad in read_examples(str(tmp_path / "a.csv"), "skip").bad] == ["line 6", "line 9"]


@pytest.mark.parametrize("choice", ["reject", "ignore"])
def test_what_an_annotator_did_not_accept_is_named(choice: str, tmp_path: Path) -> None:
    task = {"text": ADA["context"], "question": "Who?", "spans": [{"start": 0, "end": 3}], "answer": choice}
    (tmp_path / "a.jsonl").write_text(json.dumps(task))
    with pytest.raises(UserError, match=f"its annotator chose '{choice}', not 'accept'"):
        read_examples(str(tmp_path / "a.jsonl"))


def test_an_archive_of_a_mac_is_one_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data/a.jsonl", json.dumps(ADA | {"answer": "Ada"}))
        archive.writestr("__MACOSX/data/._a.jsonl", b"\0\5")
        archive.writestr("data/.DS_Store", b"\0")
    assert read_examples(str(tmp_path / "a.zip")).examples[0].id == "a"


@pytest.mark.parametrize("texts", [["Ada"], [str(n) for n in range(250)]])
def test_parquet_of_many_row_groups_is_read_whole(texts: list[str], tmp_path: Path) -> None:
    rows = [
        {"id": f"q{n}", "question": "Who?", "context": f"{texts[n % len(texts)]} built it.",
         "answers": {"text": [texts[n % len(texts)]], "answer_start": [0]}}
        for n in range(250)
    ]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=50)
    read = read_examples(str(tmp_path / "a.parquet")).examples
    assert [(e.id, e.context) for e in read] == [(row["id"], row["context"]) for row in rows]


MEASURED = """
import sys
from pathlib import Path
import qa.data.reading.parquet
from qa.data.reading.checked import examples_to_ask
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
before = peak()
for number, example in enumerate(examples_to_ask(Path(sys.argv[1])), 1):
    quarter = peak() if number == 2000 else 0 if number < 2000 else quarter
print(number, quarter - before, peak() - quarter)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "most"), [("squad.json", 16), ("list.json", 16), ("a.jsonl", 16), ("a.csv", 16), ("a.parquet", 140)]
)
def test_a_file_is_asked_record_by_record(name: str, most: int, tmp_path: Path) -> None:
    """In MiB: 8,000 questions have 32 MiB, which take eleven times that as objects."""
    letters = random.Random(1)
    rows = [{"id": f"q{n}", "question": "Who?", "context": f"{n} {letters.randbytes(2000).hex()}"} for n in range(8000)]
    path = tmp_path / name
    if name == "a.parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif name == "a.csv":
        pandas.DataFrame(rows).to_csv(path, index=False)
    elif name == "squad.json":
        paragraphs = [{"context": row["context"], "qas": [row]} for row in rows]
        path.write_text(json.dumps({"version": "1", "data": [{"paragraphs": [one]} for one in paragraphs]}))
    else:
        path.write_text(json.dumps(rows) if name == "list.json" else "\n".join(map(json.dumps, rows)))
    done = subprocess.run([sys.executable, "-c", MEASURED, path], cwd=ROOT, capture_output=True, text=True, check=True)
    count, quarter, more = map(int, done.stdout.split())
    assert count == 8000
    assert quarter < most and more < 8, (quarter, more)


def test_a_packed_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(UserError, match="a packed Parquet file; unpack it"):
        read_examples(str(tmp_path / "a.parquet.gz"))


def test_a_prediction_takes_what_nobody_annotated(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([TASK | {"annotations": []}]))
    assert read_examples(str(tmp_path / "a.json"), need="nothing").examples[0].question == "Who?"


def test_a_named_field_that_is_nowhere_and_a_file_without_a_question_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, rows in (("a.json", [ADA | {"answer": "Ada"}]), ("b.json", [])):
        (tmp_path / name).write_text(json.dumps(rows))
    read_examples([str(tmp_path / "a.json"), str(tmp_path / "b.json")], columns=Columns(id="uuid"))
    notes = [record.getMessage() for record in caplog.records]
    assert notes[0] == f"{tmp_path}/a.json: no record has 'uuid'"
    assert notes[-1] == f"{tmp_path}/b.json: no question in it"


def test_repair_keeps_letters_and_digits_whole(tmp_path: Path) -> None:
    for context, text, start in (("각도는 크다", "가", 3), ("area m² here", "2", 3), ("in the sun", "he", 5)):
        (tmp_path / "a.json").write_text(
            json.dumps([ADA | {"context": context, "answers": [{"text": text, "answer_start": start}]}])
        )
        with pytest.raises(UserError, match="no question in it"):
            read_examples(str(tmp_path / "a.json"), "repair")
