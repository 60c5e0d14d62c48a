"""The demo corpus: right where it says, of many kinds, and with as much as its page and README say."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from qa.data.demo_corpus import CORPUS, DemoSplit, paragraphs, write_demo
from qa.data.quality.inspection import findings
from qa.data.reading.examples import read_examples

SPLITS: tuple[DemoSplit, DemoSplit] = ("train", "validation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "new"
    write_demo(folder)
    return folder


def test_nothing_is_left_beside_the_two_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["train.json", "validation.json"]


def test_splits_share_no_paragraph() -> None:
    texts = {split: {paragraph.text for paragraph in paragraphs(split)} for split in SPLITS}
    assert (len(texts["train"]), len(texts["validation"])) == (257, 43)
    assert texts["train"].isdisjoint(texts["validation"])
    titles = Counter(paragraph.title for split in SPLITS for paragraph in paragraphs(split))
    assert max(titles.values()) == 1
    assert len(CORPUS.read_text("utf-8").strip().split("\n\n")) == 300


def test_every_answer_stands_once_in_its_text() -> None:
    for split in SPLITS:
        for paragraph in paragraphs(split):
            assert 75 <= len(paragraph.text.split()) <= 170, paragraph.title
            for question, answer in paragraph.questions:
                assert question.endswith("?"), question
                assert not answer or paragraph.text.count(answer) == 1, (paragraph.title, answer)


@pytest.mark.parametrize("split", SPLITS)
def test_our_own_checks_find_nothing(split: DemoSplit, folder: Path) -> None:
    read = read_examples(str(folder / f"{split}.json"))
    assert [example.id for example in read.examples][:2] == [f"{split}-000000", f"{split}-000001"]
    assert not read.bad
    kinds = {finding.kind for finding in findings(read, read.examples)}
    assert kinds <= {"context nearly like one before it"}  # of templates


def test_the_questions_without_an_answer_are_those_of_squad_v2(folder: Path, tmp_path: Path) -> None:
    def questions(path: Path) -> list[dict[str, Any]]:
        return [q for article in json.loads(path.read_bytes())["data"] for q in article["paragraphs"][0]["qas"]]

    plain, v2 = (questions(path / "train.json") for path in (folder, write_demo(tmp_path, is_v2=True)[0].parent))
    assert len(plain) == sum(not question["is_impossible"] for question in v2)
    assert [q["question"] for q in plain] == [q["question"] for q in v2 if q["answers"]]
    assert 0.03 < 1 - len(plain) / len(v2) < 0.06
