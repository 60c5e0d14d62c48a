"""A text that is unlike those of a calibration is called so, and `max_error` then gives no answer."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from helpers.questions import write_bridges
from qa import QuestionAnswerer, UserError
from qa.answer import main as answer_main
from qa.answering.calibrate import calibrate
from qa.answering.check import read_known
from qa.answering.files import answer_file
from qa.answering.shift import describe_texts, warning_of
from qa.data.arrays import Ints
from qa.evaluation.answers import Question
from qa.model.answering import Answering, ErrorBound, KnownTexts

GERMAN = (
    "Die Brücke wurde im Jahre 1822 aus grauem Stein errichtet, und das Hochwasser riss später zwei Bögen mit sich; "
    "erst nach langen Verhandlungen zwischen den Städten begann man, sie wiederherzustellen."
)
QUESTION = "Who built the bridge?"


@pytest.fixture(scope="module")
def model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated model, to which the questions on 24 texts promise that at most 20% of all answers are wrong."""
    folder = tmp_path_factory.mktemp("shift") / "model"
    shutil.copytree(tiny, folder)
    examples = read_known(str(write_bridges(folder.parent, train=24, validation=1)[0]))
    _, answering = calibrate(QuestionAnswerer.from_pretrained(str(folder)), examples, [])
    bound = ErrorBound(probability=1e-9, answers=48, answered=1.0, wrong=0.1, wrong_at_most=0.2)
    answering.changed(error_bounds=[bound]).save(folder)
    return folder


@pytest.fixture(scope="module")
def answerer(model: Path) -> QuestionAnswerer:
    return QuestionAnswerer.from_pretrained(str(model))


@pytest.fixture(scope="module")
def known(model: Path) -> str:
    """A text of the calibration."""
    return read_known(str(model.parent / "train.json"))[0].context


def test_an_unlike_text_is_called_so_and_gets_no_answer_under_max_error(
    answerer: QuestionAnswerer, known: str, tiny: Path
) -> None:
    like, unlike = answerer([QUESTION, QUESTION], [known, GERMAN])
    assert like and like.warning is None
    assert unlike and (unlike.warning or "").startswith("This text is unlike those of the calibration (its word pieces")
    assert (unlike.warning or "").endswith("is normal): the probability and max_error may not hold.")
    like, refused = answerer([QUESTION, QUESTION], [known, GERMAN], max_error=0.2, top_k=3)
    assert like and not refused and refused.warning == unlike.warning and not refused.alternatives
    assert answerer(QUESTION, "A bridge of grey stone in Oldenbury.").warning is None  # one new name of few words
    old = QuestionAnswerer.from_pretrained(str(tiny))  # without a calibration
    assert old(QUESTION, GERMAN).warning is None
    over_both = answerer(QUESTION, [GERMAN, known], read_texts=None, top_k=20)
    for one in (over_both, *over_both.alternatives):
        assert one.warning == (unlike.warning if one.context_index == 0 else None)
    nothing = answerer(QUESTION, [known, GERMAN], min_probability=1.0)
    assert not nothing and nothing.warning == unlike.warning


def test_the_shell_and_a_file_say_it(
    model: Path, answerer: QuestionAnswerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    words = ["qa.answer", str(model), "--question", "Who?", "--question", "When?", "--context", GERMAN]
    monkeypatch.setattr(sys, "argv", [*words, "--format", "jsonl"])
    answer_main()
    shown = capsys.readouterr()
    warning = answerer("Who?", GERMAN).warning
    assert shown.err == f"WARNING: {warning}\n"  # once, not for each question
    assert [json.loads(line)["warning"] for line in shown.out.splitlines()] == [warning, warning]
    source = tmp_path / "asks.jsonl"
    source.write_text(json.dumps({"question": "Who?", "context": GERMAN}) + "\n")
    assert answer_file(answerer, str(source), tmp_path / "out.jsonl", {})["unlike"] == 1
    assert json.loads((tmp_path / "out.jsonl").read_text())["warning"] == warning


def texts(rng: np.random.Generator, count: int, size: int) -> list[Ints]:
    """Texts of a vocabulary of 1000 tokens, some of them frequent, each text with a topic of its own."""
    shares = 1 / np.arange(1, 1001)
    topics = shares * np.exp(0.3 * rng.normal(size=(count, 1000)))
    return [rng.choice(1000, size, p=topic / topic.sum()).astype(np.int32) for topic in topics]


def question(text: str) -> Question:
    return Question(text, "?", text, None, ["a"], [None], "a", 0, 1, 0.5, 1.0, 1.0, None)


@pytest.mark.parametrize("size", [5, 50, 2000])
def test_texts_of_any_length_like_those_of_the_calibration_are_rarely_called_unlike(size: int) -> None:
    rng = np.random.default_rng(3)
    ids_of = {f"{row}": ids for row, ids in enumerate(texts(rng, 100, 150))}
    known = describe_texts([question(text) for text in ids_of], ids_of, 1000)
    assert known == KnownTexts.model_validate_json(known.model_dump_json() if known else "")
    assert np.mean([warning_of(known, ids) is not None for ids in texts(rng, 300, size)]) <= 0.02
    if size > 5:
        assert warning_of(known, rng.integers(0, 1000, size).astype(np.int32))
    assert warning_of(known, np.full(50, 5000, np.int32))  # tokens that the vocabulary does not have
    assert warning_of(known, np.zeros(0, np.int32)) is None


def test_of_few_texts_nothing_is_known_and_a_damaged_description_is_named(tmp_path: Path) -> None:
    ids_of = {f"{row}": ids for row, ids in enumerate(texts(np.random.default_rng(4), 9, 50))}
    assert describe_texts([question(text) for text in ids_of], ids_of, 1000) is None
    numbers = {"usual": 9.0, "deviation": 1.0, "token_deviation": 4.0}
    for rarity in ("no base64", "AAAA", ""):
        with pytest.raises(ValidationError):
            KnownTexts.model_validate({"rarity": rarity, **numbers})
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "qa.json").write_text(json.dumps({"known_texts": {"rarity": "AAAA", **numbers}}))
    with pytest.raises(UserError, match=r"qa.json: .*known_texts: its rarity cannot be read"):
        Answering.load(str(tmp_path))
