"""The demo corpus: the same everywhere, right where it says, and not to be answered from memory or from types alone."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from qa.data.demo_corpus import SLOT_PARTS, DemoSplit, corpus, entities, write_demo
from qa.data.reading.examples import read_examples
from qa.demo import main
from qa.errors import UserError

SPLITS: tuple[DemoSplit, DemoSplit] = ("train", "validation")
Corpora = dict[DemoSplit, dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "new"
    write_demo(folder)
    return folder


@pytest.fixture(scope="module")
def corpora(folder: Path) -> Corpora:
    return {split: json.loads((folder / f"{split}.json").read_bytes()) for split in SPLITS}


def paragraphs(squad: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for article in squad["data"]:
        yield from article["paragraphs"]


def told(squad: dict[str, Any]) -> str:
    """All that a split says, questions too."""
    lines = [line for p in paragraphs(squad) for line in (p["context"], *(qa["question"] for qa in p["qas"]))]
    return "\n".join(lines)


def test_same_seed_same_bytes_and_another_seed_another_corpus(folder: Path, tmp_path: Path) -> None:
    again = write_demo(tmp_path / "again")
    other = write_demo(tmp_path / "other", seed=7)
    for name, same, different in zip(("train.json", "validation.json"), again, other, strict=True):
        assert same.read_bytes() == (folder / name).read_bytes()
        assert different.read_bytes() != same.read_bytes()


def test_nothing_is_left_beside_the_two_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["train.json", "validation.json"]


def test_files_of_somebody_are_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "validation.json").write_text("mine")
    monkeypatch.setattr("sys.argv", ["qa.demo", str(tmp_path)])
    with pytest.raises(UserError, match=r"validation\.json: is there already; give another folder"):
        main()
    monkeypatch.setattr("sys.argv", ["qa.demo", str(tmp_path / "validation.json")])
    with pytest.raises(UserError, match=r"validation\.json: cannot be written"):
        main()
    assert [path.name for path in tmp_path.iterdir()] == ["validation.json"]
    assert (tmp_path / "validation.json").read_text() == "mine"


def test_sizes_and_ids(corpora: Corpora) -> None:
    ids = {split: [qa["id"] for p in paragraphs(corpora[split]) for qa in p["qas"]] for split in SPLITS}
    assert 1000 <= len(ids["train"]) <= 1400
    assert 250 <= len(ids["validation"]) <= 300
    for split in SPLITS:
        assert ids[split] == [f"{split}-{number:06d}" for number in range(len(ids[split]))]


@pytest.mark.parametrize("seed", [42, *range(4)])
def test_every_answer_stands_where_it_says_and_nowhere_else(seed: int) -> None:
    for split in SPLITS:
        for p in paragraphs(corpus(split, seed)):
            for qa in p["qas"]:
                # 32 is not an answer where it is the end of 1932
                first, *longer = qa["answers"]
                found = re.finditer(rf"\b{re.escape(first['text'])}\b", p["context"], re.IGNORECASE)
                assert [match.start() for match in found] == [first["answer_start"]], (qa, p["context"])
                for answer in (first, *longer):
                    assert p["context"].startswith(answer["text"], answer["answer_start"])
                    assert first["text"] in answer["text"]


def test_text_is_whole(corpora: Corpora) -> None:
    for squad in corpora.values():
        assert not re.search(r"[][{}|*]|  ", told(squad))
        for p in paragraphs(squad):
            assert all(sentence[0].isupper() for sentence in p["context"].split(". "))
            assert p["context"].endswith(".")


def test_no_paragraph_asks_one_question_twice(corpora: Corpora) -> None:
    for squad in corpora.values():
        for p in paragraphs(squad):
            assert max(Counter(qa["question"] for qa in p["qas"]).values()) == 1, p


@pytest.mark.parametrize("seed", [42, 7])
def test_what_can_fill_a_slot_is_in_one_split_only(seed: int) -> None:
    for kind, train in entities("train", seed).items():
        assert train and not set(train) & set(entities("validation", seed)[kind]), kind


def test_no_entity_of_validation_occurs_in_training(corpora: Corpora) -> None:
    train = told(corpora["train"]).lower()
    words = set(re.findall(r"\w[\w,]*\w", train))
    for kind, values in entities("validation").items():
        for value in values:
            present = value.lower() in (train if " " in value else words)
            assert not present, (kind, value)


def test_type_alone_does_not_find_the_answer(corpora: Corpora) -> None:
    for split, squad in corpora.items():
        pools = {kind: {value.lower() for value in values} for kind, values in entities(split).items()}
        for p in paragraphs(squad):
            context = p["context"].lower()
            for qa in p["qas"]:
                answer = qa["answers"][0]["text"].lower()
                kinds = [kind for kind in SLOT_PARTS if answer in pools[kind] or answer.split()[-1] in pools[kind]]
                assert kinds, qa
                rivals = [value for value in pools[kinds[0]] if re.search(rf"\b{re.escape(value)}\b", context)]
                assert len(rivals) >= 2, (qa, context)


def test_paragraphs_fit_a_small_window(corpora: Corpora, minilm: PreTrainedTokenizerFast) -> None:
    for squad in corpora.values():
        contexts = [p["context"] for p in paragraphs(squad)]
        lengths = [len(ids) for ids in minilm(contexts, add_special_tokens=False)["input_ids"]]
        assert 50 <= min(lengths) and max(lengths) <= 115


def test_validation_has_wordings_of_its_own(corpora: Corpora) -> None:
    # names replaced, the sentences and questions that are left are the wordings
    def wordings(split: DemoSplit) -> set[str]:
        text = told(corpora[split])
        return {re.sub(r"\b[A-Z]\w+|[\d,]+", "_", question) for question in re.findall(r"[^\n]+\?", text)}

    new = wordings("validation") - wordings("train")
    assert 0.1 < len(new) / len(wordings("validation")) < 0.9


def test_our_own_reader_takes_it(folder: Path) -> None:
    examples = read_examples(str(folder / "train.json"))
    assert len(examples.examples) > 1000
