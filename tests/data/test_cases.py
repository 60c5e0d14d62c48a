"""Small files that once went wrong, in the folder QA_CASES."""

import os
import shutil
from pathlib import Path

import pytest

from qa.data.reading.checked import Need
from qa.data.reading.examples import read_examples
from qa.data.reading.record import Columns
from qa.errors import UserError

OSTMAR = ["Ostmar"]
# {file: [answers of each question]}; an unanswerable one has none
READ = {
    "01-integer-id/haystack.json": [OSTMAR],
    "01-integer-id/rows.csv": [OSTMAR],
    "01-integer-id/rows.jsonl": [OSTMAR],
    "02-string-boolean/heq.json": [OSTMAR, ["The weavers"]],
    "03-run-qa-json/sample.json": [OSTMAR],
    "04-json-array/columns.json": [OSTMAR],
    "04-json-array/pretty_renamed.jsonl": [OSTMAR],
    "04-json-array/renamed.jsonl": [OSTMAR],
    "04-json-array/rows.json": [OSTMAR],
    "04-json-array/simpletransformers.json": [OSTMAR],
    "05-csv-dict-cell/json.csv": [OSTMAR],
    "05-csv-dict-cell/lists.csv": [OSTMAR],
    "05-csv-dict-cell/np.csv": [OSTMAR],
    "05-csv-dict-cell/to_csv.csv": [OSTMAR],
    "06-column-called-answers/t.csv": [OSTMAR],
    "06-column-called-answers/two.csv": [OSTMAR],
    "07-second-reference/cmrc.json": [["Ostmar", "Ostmar."], ["The weavers"]],
    "07-second-reference/validation_text.json": [["Ostmar", "in ostmar"]],
    "08-mrqa/mrqa.jsonl": [OSTMAR],
    "09-jsonl-no-id/rows.jsonl": [OSTMAR],
    "10-string-start/float.jsonl": [OSTMAR],
    "10-string-start/s.json": [OSTMAR],
    "11-csv-impossible/t.csv": [OSTMAR, []],
    "11-csv-impossible/t.jsonl": [OSTMAR, []],
    "12-not-given/h.json": [[], OSTMAR],
    "13-v2-no-flag/minus.json": [[], OSTMAR],
    "13-v2-no-flag/v.json": [[], OSTMAR],
    "14-excel/semi.csv": [OSTMAR],
    "14-excel/u.tsv": [OSTMAR],
    "14-excel/utf16.csv": [OSTMAR],
    "15-ws-answer/w.json": [[" Ostmar. "]],
    "16-pandas/answers_list.parquet": [OSTMAR],
    "16-pandas/answers_struct_single.parquet": [OSTMAR],
    "16-pandas/answers_text.parquet": [OSTMAR],
    "16-pandas/float.csv": [OSTMAR],
    "16-pandas/float.parquet": [OSTMAR, []],
    "16-pandas/impossible.parquet": [OSTMAR, []],
    "16-pandas/index.csv": [OSTMAR],
    "22-names/T.CSV": [OSTMAR],
    "22-names/X.JSON": [[], OSTMAR],
    "22-names/a.jsonlines": [OSTMAR],
    "22-names/a.ndjson": [OSTMAR],
    "22-names/c.csv.GZ": [OSTMAR],
    "22-names/c.zip": [OSTMAR],
}
COLUMNS = {
    "05-csv-dict-cell/lists.csv": Columns(
        question="Question", context="Paragraph", answer="Answer_text", answer_start="Answer_start"
    ),
    "06-column-called-answers/two.csv": Columns(answer="answer"),
}
ASKED = ["answer_null", "impossible", "intid", "misplaced", "noid", "null", "text_answers", "twice"]


def case(name: str) -> Path:
    folder = os.environ.get("QA_CASES")
    if not folder:
        pytest.skip(f"QA_CASES is not set: {name} is not tested")
    return Path(folder, name)


@pytest.mark.parametrize("name", READ)
def test_a_file_is_read_as_its_owner_means_it(name: str) -> None:
    read = read_examples(str(case(name)), columns=COLUMNS.get(name, Columns()))
    assert [[answer.text for answer in example.answers] for example in read.examples] == READ[name]
    assert [example.is_impossible for example in read.examples] == [not answers for answers in READ[name]]
    for example in read.examples:
        begin, end = example.label or (0, 0)
        assert example.context[begin:end] == (example.answers[0].text.strip() if example.answers else "")
    assert not read.skipped


@pytest.mark.parametrize("name", ASKED)
def test_a_question_is_answered_whatever_its_answers_are(name: str) -> None:
    read = read_examples(str(case(f"20-predict-strict/{name}.jsonl")), need="nothing")
    assert ([example.is_impossible for example in read.examples], read.skipped) == ([False], {})


def test_scores_look_at_texts_alone() -> None:
    need: Need = "texts"
    read = read_examples(str(case("17-score-with-skip/dev.json")), need=need)
    assert [example.answers[0].text for example in read.examples] == ["Ostmar", "weavers"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("14-excel/cp1252.csv", "line 2 .*: the field .* is not UTF-8"),
        ("22-names/a.txt", "unknown kind of file; name it"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_remedy(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_examples(str(case(name)))


def test_an_archive_of_several_files_is_named(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text("question,context\n")
    for name in ("a.csv", "a"):
        shutil.make_archive(str(tmp_path / name), "zip", tmp_path / "in")
        with pytest.raises(UserError, match=r"an archive of 2 files \(a\.csv, b\.csv\); unpack it"):
            read_examples(str(tmp_path / f"{name}.zip"))
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(UserError, match="an archive; unpack it"):
        read_examples(str(tmp_path / "a.tar.gz"))
