"""The demo corpus: the same everywhere, right where it says, and its validation is unseen."""

import re
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from qa.data.demo_corpus import DemoSplit, corpus, demo_paragraphs, write_demo
from qa.data.reading.examples import read_examples
from qa.demo import main
from qa.errors import UserError

SPLITS: tuple[DemoSplit, DemoSplit] = ("train", "validation")


def asked(split: DemoSplit, seed: int = 42) -> list[tuple[str, dict[str, Any]]]:
    """Each question of a split with its context."""
    data = corpus(split, seed)["data"]
    return [(part["context"], qa) for entry in data for part in entry["paragraphs"] for qa in part["qas"]]


def test_same_seed_same_bytes_and_another_seed_another_corpus(tmp_path: Path) -> None:
    first, again, other = (write_demo(tmp_path / name, seed) for name, seed in (("a", 42), ("b", 42), ("c", 7)))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert first[0].read_bytes() != other[0].read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["train.json", "validation.json"]
    assert len(read_examples(str(first[0])).examples) > 5000


def test_files_of_somebody_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "validation.json").write_text("mine")
    monkeypatch.setattr("sys.argv", ["qa.demo", str(tmp_path)])
    with pytest.raises(UserError, match=r"validation\.json: already exists; give another folder"):
        main()
    monkeypatch.setattr("sys.argv", ["qa.demo", str(tmp_path / "validation.json")])
    with pytest.raises(UserError, match=r"validation\.json: cannot be written"):
        main()
    assert [path.name for path in tmp_path.iterdir()] == ["validation.json"]
    assert (tmp_path / "validation.json").read_text() == "mine"


def test_ids_are_in_the_order_of_the_file() -> None:
    for split in SPLITS:
        ids = [qa["id"] for _, qa in asked(split)]
        assert ids == [f"{split}-{number:06d}" for number in range(len(ids))]


@pytest.mark.parametrize("seed", [42, *range(4)])
def test_every_answer_is_where_it_says_and_nowhere_else(seed: int) -> None:
    for split in SPLITS:
        for context, qa in asked(split, seed):
            (answer,) = qa["answers"]
            places = [match.start() for match in re.finditer(re.escape(answer["text"]), context)]
            assert places == [answer["answer_start"]], (qa, context)


def test_an_excerpt_is_whole_sentences_and_differs_from_time_to_time() -> None:
    texts = {paragraph.text for paragraph in demo_paragraphs()}
    train = asked("train")
    for context, _ in train:
        begins = [text.find(context) for text in texts if context in text]
        assert begins and context[0] not in " ,.;" and context[-1] in '.!?;"”)'
    by_question: dict[str, set[str]] = {}
    for context, qa in train:
        by_question.setdefault(qa["question"], set()).add(context)
    assert sum(len(contexts) > 1 for contexts in by_question.values()) > 0.8 * len(by_question)
    assert {context for context, _ in asked("validation")} < texts


def test_validation_shares_neither_paragraph_nor_question_with_training() -> None:
    train, validation = asked("train"), asked("validation")
    assert not {qa["question"] for _, qa in train} & {qa["question"] for _, qa in validation}
    seen = "\n".join(context for context, _ in train)
    assert not any(
        sentence in seen for context, _ in validation for sentence in context.split(". ") if len(sentence) > 30
    )


def test_no_paragraph_asks_one_question_twice_and_all_are_whole() -> None:
    paragraphs = demo_paragraphs()
    assert len(paragraphs) == 300
    for paragraph in paragraphs:
        questions = [question for question, _ in paragraph.questions]
        assert len(set(questions)) == len(questions) >= 5
        assert paragraph.title and paragraph.kind and "  " not in paragraph.text
        assert all(question.endswith("?") for question in questions)


def test_excerpts_fit_a_small_window(minilm: PreTrainedTokenizerFast) -> None:
    lengths = [len(ids) for ids in minilm([context for context, _ in asked("train")])["input_ids"]]
    assert sum(lengths) / len(lengths) < 100 and max(lengths) < 384
