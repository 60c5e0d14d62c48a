"""Questions over several texts: which are read, and decisions that hold for their number."""

import math
import shutil
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from qa import QuestionAnswerer
from qa.answering import calibrate as calibration
from qa.answering.calibrate import calibrate, texts_rows
from qa.answering.check import Asked, read_known
from qa.answering.ranking import choose_texts
from qa.data.windows.tokenizer import backend
from qa.model.answering import Answering, Decision
from qa.statistics.calibration import calibrated as calibrated_questions
from qa.statistics.calibration import same_answer

Files = tuple[Path, Path]
MILL = "Anna Kern founded the mill in 1912. Her son Paul sold it in 1950 to the town of Arlbury."
TEXTS = [
    "The office is closed on Tuesday, and on the days before a holiday.",
    "The bridge of Tollen was built in 1822 by Ada Brill. A flood took its arches away.",
    MILL,
    "Whoever is ill needs a note of a doctor on the third day.",
]


def chosen(tokenizer: PreTrainedTokenizerFast, question: str, texts: list[str], most: int) -> list[int]:
    one, *others = backend(tokenizer).encode_batch([question, *texts], add_special_tokens=False)
    return choose_texts(one, others, most)


def test_the_texts_with_the_words_of_the_question_are_read(minilm: PreTrainedTokenizerFast) -> None:
    assert chosen(minilm, "Who founded the mill of Arlbury?", TEXTS, 1) == [2]
    assert chosen(minilm, "When was the bridge built?", TEXTS, 2)[0] == 1
    everything = list(range(len(TEXTS)))
    # in another language, and without any word: nothing tells which text it is
    assert chosen(minilm, "Wer gründete die Mühle?", TEXTS, 1) == everything
    assert chosen(minilm, "?!", TEXTS, 1) == everything


@given(
    st.lists(st.text(st.sampled_from("the mill was Ada 19 .?"), max_size=40), min_size=1, max_size=9), st.integers(1, 9)
)
@settings(max_examples=60, deadline=None)
def test_a_choice_of_texts_is_the_first_part_of_one_order(
    minilm: PreTrainedTokenizerFast, texts: list[str], most: int
) -> None:
    order, some = (chosen(minilm, "Was the mill built?", texts, count) for count in (len(texts), most))
    assert sorted(order) == list(range(len(texts)))
    assert some in (order[:most], list(range(len(texts))))


def test_only_what_is_read_is_answered_from(tiny: Path) -> None:
    answerer = QuestionAnswerer.from_pretrained(str(tiny), max_length=64, stride=16)
    question = "Who founded the mill of Arlbury?"
    assert answerer(question, TEXTS, read_texts=1).context_index == 2
    one, two = answerer(question, MILL, top_k=9), answerer(question, TEXTS, read_texts=1, top_k=9)
    assert [(a.text, a.probability) for a in one.alternatives] == [(a.text, a.probability) for a in two.alternatives]
    every = answerer(question, TEXTS, read_texts=None, top_k=20, overlap_threshold=1)
    assert len({answer.context_index for answer in every.alternatives}) > 1


def test_a_text_that_comes_ten_times_is_one_text(tiny: Path) -> None:
    answerer = QuestionAnswerer.from_pretrained(str(tiny), max_length=64, stride=16)
    once, often = (answerer("Who founded it?", [MILL, *TEXTS[:1]] * count, top_k=20) for count in (1, 10))
    assert once == often


def test_probabilities_do_not_depend_on_how_many_answers_are_wanted(tiny: Path) -> None:
    answerer = QuestionAnswerer.from_pretrained(str(tiny), max_length=64, stride=16)
    one, *others = (answerer("Who founded it?", MILL, top_k=count) for count in (1, 7, 20, 100))
    assert {other.probability for other in others} == {one.probability}


def test_decisions_lie_between_those_of_known_numbers_of_texts() -> None:
    known = Answering(
        temperature=1.0, no_answer_threshold=2.0, temperature_by_language={"de": 3.0},
        several_texts={5: Decision(temperature=2.0, no_answer_threshold=-1.0), 20: Decision(temperature=2.0)},
    )  # fmt: skip
    assert known.over(1) == known
    assert (known.over(5).temperature, known.over(5).temperature_by_language) == (2.0, {"de": 6.0})
    assert known.over(2).temperature == pytest.approx(1 + math.log(2) / math.log(5))
    assert known.over(1000).temperature == 2.0
    assert known.over(5).no_answer_threshold == 2.0  # as nobody knows that of 20
    assert Answering(temperature=1.5).over(9) == Answering(temperature=1.5)


@pytest.fixture(scope="module")
def calibrated(tiny: Path, v2_files: Files, tmp_path_factory: pytest.TempPathFactory) -> QuestionAnswerer:
    """A model that knows nothing, with decisions over one text and over five."""
    folder = tmp_path_factory.mktemp("several") / "model"
    shutil.copytree(tiny, folder)
    Answering(max_length=64, stride=16).save(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "ENOUGH", 15)
        worth, answering = calibrate(
            QuestionAnswerer.from_pretrained(str(folder)), read_known(str(v2_files[0])), ["aa"]
        )
    assert [row[0] for row in texts_rows(worth)] == ["Texts", "1", "5", "20"]
    answering.save(folder)
    return QuestionAnswerer.from_pretrained(str(folder))


@pytest.mark.parametrize("texts", [1, 5])
def test_what_was_measured_over_several_texts_is_what_is_answered(
    calibrated: QuestionAnswerer, v2_files: Files, texts: int
) -> None:
    known = calibrated.answering
    asked = Asked(calibrated, read_known(str(v2_files[0])), texts)
    assert asked.at(known.over(texts).no_answer_threshold).figures()["f1"] == asked.at(0.0).figures()["best_f1"]
    assert {len(set(ask.contexts)) for ask in asked.asks} == {texts}
    middle = {"no_answer_threshold": statistics.median((asked.at(0.0).null_odds or {}).values())}
    several = {count: decision.model_copy(update=middle) for count, decision in known.several_texts.items()}
    known = known.model_copy(update={**middle, "several_texts": several})
    answers = QuestionAnswerer(calibrated.engine, calibrated.tokenizer, known).answers(asked.asks)
    assert {bool(answer) for answer in answers} == {True, False}  # else this would show little
    decision = known.over(texts)
    found = asked.at(decision.no_answer_threshold)
    questions, _ = calibrated_questions(((q, found.answers[q.id]) for q in found.questions), decision.scales)
    for question, answer in zip(questions, answers, strict=True):
        assert question.prediction == answer.text
        assert answer.probability == pytest.approx(question.probability)


def test_a_refusal_is_as_probable_as_no_answer(calibrated: QuestionAnswerer) -> None:
    question = "Who is the mayor of the town?"
    refused = calibrated(question, TEXTS[0], min_probability=1)
    assert refused.text == "" and refused.probability == refused.no_answer_probability
    shares = calibrated(question, TEXTS, top_k=20, overlap_threshold=1)
    spans = [answer for answer in (shares, *shares.alternatives) if answer]
    distinct = {same_answer(answer.text): answer.probability for answer in spans}
    assert sum(distinct.values()) <= 1 - (shares.no_answer_probability or 0) + 1e-9
    always = calibrated(question, TEXTS, handle_impossible_answer=False)
    assert always.text and always.probability == pytest.approx(spans[0].probability)


def test_questions_that_all_have_an_answer_do_not_say_how_likely_there_is_none(
    calibrated: QuestionAnswerer, small_files: Files
) -> None:
    known = calibrated.answering.changed(no_answer_slope=0.5, no_answer_offset=-0.25)
    answerer = QuestionAnswerer(calibrated.engine, calibrated.tokenizer, known)
    _, answering = calibrate(answerer, read_known(str(small_files[1])), ["aa"])
    for texts in (1, 5):
        assert answering.over(texts).no_answer_line == known.over(texts).no_answer_line
        assert answering.over(texts).no_answer_threshold == known.over(texts).no_answer_threshold
