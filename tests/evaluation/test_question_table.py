import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from helpers.paths import real_data
from helpers.questions import squad
from qa.data.example import Example, ReferenceAnswer
from qa.data.reading.examples import read_examples
from qa.errors import UserError
from qa.evaluation.answers import NBestAnswer, score_question
from qa.evaluation.question_table import QUESTIONS_FILE, SCHEMA, read_questions, write_questions


def test_a_row_holds_the_best_answer_and_its_score_against_every_reference(tmp_path: Path) -> None:
    references = (
        ReferenceAnswer(text="the grey bridge", answer_start=4),
        ReferenceAnswer(text="bridge", answer_start=13),
    )
    example = Example(id="x", question="What?", context="See the grey bridge.", answers=references, language="en")
    best = [NBestAnswer(text="grey bridge", score=2.0, probability=0.75, start=8, end=19)]
    nothing = Example(id="b", question="Who?", context="北京")
    write_questions(tmp_path, [score_question(example, best[0], loss=0.5), score_question(nothing, None)])
    none, row = read_questions(tmp_path)
    assert row.answers == ["the grey bridge", "bridge"] and row.answer_starts == [4, 13]
    assert (row.prediction, row.start, row.end, row.probability, row.language) == ("grey bridge", 8, 19, 0.75, "en")
    assert (row.exact_match, row.f1, row.loss) == (1.0, 1.0, 0.5)
    assert (none.context, none.prediction, none.exact_match, none.loss, none.language) == ("北京", "", None, None, None)


def test_the_title_of_the_article_is_kept_from_every_kind_of_file(tmp_path: Path) -> None:
    row = {"id": "a", "question": "Who?", "context": "Ada did.", "answer": "Ada", "title": "Bridges"}
    table = pyarrow.Table.from_pylist([row])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    article = squad(("Ada did.", [("a", "Who?", "Ada")]))
    article["data"][0]["title"] = "Bridges"
    (tmp_path / "a.json").write_text(json.dumps(article))
    for kind in ("parquet", "csv", "jsonl", "json"):
        example = read_examples(str(tmp_path / f"a.{kind}")).examples[0]
        assert example.title == "Bridges"
        write_questions(tmp_path, [score_question(example, None, "Ada")])
        assert read_questions(tmp_path)[0].title == "Bridges"


@pytest.mark.parametrize("title", [None, 7, " ", ["x"], "\ud800"])
def test_a_title_that_is_no_text_refuses_no_question(title: Any, tmp_path: Path) -> None:
    article = squad(("Ada did.", [("a", "Who?", "Ada")]))
    article["data"][0]["title"] = title
    (tmp_path / "a.json").write_text(json.dumps(article))
    example = read_examples(str(tmp_path / "a.json")).examples[0]
    assert example.title == ("?" if title == "\ud800" else None)
    write_questions(tmp_path, [score_question(example, None, "Ada")])


def test_questions_that_were_written_before_titles_were_kept_are_read(tmp_path: Path) -> None:
    old = SCHEMA.remove(SCHEMA.get_field_index("title"))
    row = dict.fromkeys(old.names) | {"id": "a", "exact_match": 1.0}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row], old), tmp_path / QUESTIONS_FILE)
    assert (read_questions(tmp_path)[0].id, read_questions(tmp_path)[0].title) == ("a", None)


@pytest.mark.parametrize("content", [None, b"PAR1 but no more"])
def test_a_folder_without_whole_questions_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / QUESTIONS_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"questions\.parquet: .*stage=validate"):
        read_questions(tmp_path)


def test_the_language_is_that_of_the_files_name() -> None:
    files = [str(real_data(f"xquad.{language}.json")) for language in ("de", "zh")]
    examples = read_examples(files).examples
    assert [example.language for example in examples] == ["de"] * 1190 + ["zh"] * 1190
