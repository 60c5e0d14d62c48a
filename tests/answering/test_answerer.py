"""Answers are those of the run that trained the model, whatever is asked together."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from helpers.commands import Run, quick_fit
from qa import Answer, QuestionAnswerer, UserError
from qa.answering.choice import choose, merge
from qa.answering.options import Options
from qa.data.windows import build, long_texts
from qa.evaluation.answers import NBestAnswer
from qa.evaluation.question_table import read_questions
from qa.model.answering import Answering
from qa.runs.predictions import WrittenAnswers
from qa.runs.results import read_results
from qa.statistics.calibration import calibrated

Files = tuple[Path, Path]
CONTEXT = "The bridge of Tollen was built in 1822 by Ada Brill. A flood took its arches away. " * 6
QUESTION = "When was the bridge built?"


@pytest.fixture(scope="module")
def answerer(tiny: Path) -> QuestionAnswerer:
    """A model that knows nothing, with windows of 64 tokens."""
    return QuestionAnswerer.from_pretrained(str(tiny), max_length=64, stride=16)


@pytest.fixture(scope="module")
def fitted(train_py: Run, tiny: Path, v2_files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on SQuAD v2 that answers some questions and refuses others."""
    folder = tmp_path_factory.mktemp("answered")
    done = train_py(
        *quick_fit(v2_files, tiny, folder / "cache"), "optimizer.lr=5e-3", "trainer.max_epochs=6", "logger=csv",
        "decode.max_answer_length=12", f"hydra.run.dir={folder}/run",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "run"


@pytest.mark.slow
def test_answers_are_those_of_the_run(fitted: Path) -> None:
    answerer = QuestionAnswerer.from_pretrained(str(fitted / "model"))
    known = answerer.answering
    assert (known.max_length, known.stride, known.max_answer_length) == (64, 16, 12)
    made = read_results(fitted).calibration
    assert made and known.temperature == made.temperature and known.temperature != 1
    questions = read_questions(fitted)
    candidates = WrittenAnswers(fitted / "nbest.json")
    nbest = {name: [answer._asdict() for answer in found] for name, found in candidates.items()}
    later, _ = calibrated(((question, candidates[question.id]) for question in questions), known.scales)
    asked = [q.question for q in questions], [q.context for q in questions]
    for question, spans in zip(questions, answerer(*asked, handle_impossible_answer=False), strict=True):
        best = next(answer for answer in nbest[question.id] if answer["text"])
        assert (spans.text, spans.start, spans.end) == (best["text"], best["start"], best["end"])
        assert spans.score == pytest.approx(best["score"], abs=1e-4)
    odds = json.loads((fitted / "null_odds.json").read_text())
    for question, answer in zip(later, answerer(*asked), strict=True):  # with the threshold that was best
        assert known.no_answer_threshold is not None
        assert bool(answer) == (odds[question.id] <= known.no_answer_threshold)
        assert answer.no_answer_probability is not None
        if answer.text == question.prediction:  # during training the threshold was 0
            assert answer.probability == pytest.approx(question.probability, abs=1e-5)
    kinds = {bool(answer) for answer in answerer(*asked)}
    assert kinds == {True, False}  # else this run would show little


def spelled_out(answerer: QuestionAnswerer, question: str, context: str, most: int) -> tuple[float, str]:
    """The best span by trying all of all windows, that the tokenizer itself makes."""
    tokenizer: Any = answerer.tokenizer
    cut = tokenizer(
        question, context, truncation="only_second", max_length=64, stride=16, return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )  # fmt: skip
    tokenizer.backend_tokenizer.no_truncation()
    found = []
    for number, ids in enumerate(cut["input_ids"]):
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        with torch.no_grad():
            output = answerer.engine.model(**inputs, token_type_ids=torch.tensor([cut["token_type_ids"][number]]))
        starts, ends = output.start_logits[0].tolist(), output.end_logits[0].tolist()
        places = [place for place, part in enumerate(cut.sequence_ids(number)) if part == 1]
        offsets = cut["offset_mapping"][number]
        found += [
            (starts[first] + ends[last], context[offsets[first][0] : offsets[last][1]].strip())
            for first in places
            for last in places
            if first <= last < first + most
        ]
    return max(found)


@pytest.mark.parametrize("most", [1, 4, 30])
def test_the_best_span_of_all_windows_is_found(answerer: QuestionAnswerer, most: int) -> None:
    for question in (QUESTION, "Who?", "What took its arches away in the end?"):
        score, text = spelled_out(answerer, question, CONTEXT, most)
        answer = answerer(question, CONTEXT, max_answer_length=most)
        assert answer.score == pytest.approx(score, abs=1e-4)
        assert answer.text == text


def test_questions_and_contexts_go_together_in_four_ways(answerer: QuestionAnswerer) -> None:
    other = "Linivar Lunditz led the second expedition in 1911 and came home in 1915."
    one, two = answerer(QUESTION, CONTEXT), answerer(QUESTION, other)
    assert isinstance(one, Answer)
    pairs = answerer([QUESTION, QUESTION], [CONTEXT, other])
    assert [(a.text, a.context_index) for a in pairs] == [(one.text, 0), (two.text, 1)]
    assert [a.text for a in answerer([QUESTION, "Who?"], CONTEXT)] == [one.text, answerer("Who?", CONTEXT).text]
    best = answerer(QUESTION, [CONTEXT, other], top_k=40, overlap_threshold=1)
    assert (best.text, best.context_index) == max((one.score, one.text, 0), (two.score, two.text, 1))[1:]
    assert {a.context_index for a in best.alternatives} == {0, 1}
    assert best.probability + sum(a.probability for a in best.alternatives) == pytest.approx(1)
    assert answerer([], CONTEXT) == []


def test_blank_texts_among_others_are_passed_over(answerer: QuestionAnswerer) -> None:
    one = answerer(QUESTION, ["", CONTEXT, " \n", "It has two arches."], top_k=9)
    two = answerer(QUESTION, [CONTEXT, "It has two arches."], top_k=9)
    assert {1: 0, 3: 1}[one.context_index] == two.context_index
    assert [(a.text, a.score) for a in one.alternatives] == [(a.text, a.score) for a in two.alternatives]
    assert {a.context_index for a in (one, *one.alternatives)} <= {1, 3}


@given(
    st.text(st.sampled_from("ab Ç文🙂क्षि\u0301\x00\t\n.'\"\u200b"), min_size=1, max_size=300),
    st.integers(1, 5),
    st.sampled_from([0, 0.5, 1]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_an_answer_is_a_part_of_its_context(
    answerer: QuestionAnswerer, context: str, top_k: int, overlap: float, whole: bool
) -> None:
    if not context.strip():
        return
    answer = answerer("What is it?", context, top_k=top_k, overlap_threshold=overlap, whole_words=whole)
    found = [answer, *answer.alternatives]
    assert len(found) <= top_k
    for part in found:
        assert context[part.start : part.end] == part.text == part.text.strip()
        assert (0 <= part.probability <= 1 and part.alternatives == ()) or part is answer
    assert [part.score for part in found] == sorted((part.score for part in found), reverse=True)
    for better, worse in ((a, b) for n, a in enumerate(found) for b in found[n + 1 :]):
        shared = max(0, min(better.end, worse.end) - max(better.start, worse.start))
        assert shared <= overlap * min(len(better.text), len(worse.text))


def test_whole_words_are_listed_once_with_the_probability_of_their_parts(answerer: QuestionAnswerer) -> None:
    context, words = "Tollenbruecke 4417 or unhewnstones", {"Tollenbruecke", "4417", "or", "unhewnstones"}
    cut, whole = (answerer(QUESTION, context, top_k=20, max_answer_length=1, whole_words=on) for on in (False, True))
    pieces, found = ([part.text for part in (one, *one.alternatives)] for one in (cut, whole))
    assert len(pieces) > len(words) and not set(pieces) <= words
    assert (set(found), len(found)) == (words, len(words))
    of_parts = sum(part.probability for part in (cut, *cut.alternatives) if part.text in whole.text)
    assert whole.probability == pytest.approx(of_parts, abs=1e-6)


def test_less_probable_answers_are_left_out(answerer: QuestionAnswerer) -> None:
    all_of_them = answerer(QUESTION, CONTEXT, top_k=20, overlap_threshold=1)
    least = all_of_them.alternatives[4].probability
    some = answerer(QUESTION, CONTEXT, top_k=20, overlap_threshold=1, min_probability=least)
    assert {a.probability >= least for a in some.alternatives} == {True}
    none = answerer(QUESTION, CONTEXT, min_probability=1)
    assert (none.text, none.start, none.end, bool(none), none.alternatives) == ("", 0, 0, False, ())


def test_equal_answers_add_up_and_never_take_the_best_ones_place() -> None:
    spans = [("Paris", 5.0, 0), ("1912", 4.9, 10), ("1912.", 4.9, 20), ("the 1912", 1.0, 30)]
    best = merge([(0, [NBestAnswer(text, score, 0.0, at, at + len(text)) for text, score, at in spans], None)], 20)
    answer = choose(best, Options(top_k=9), Answering(), None)
    assert (answer.text, [other.text for other in answer.alternatives]) == ("Paris", ["1912"])
    assert answer.probability + answer.alternatives[0].probability == pytest.approx(1)
    assert answer.alternatives[0].probability > 0.5 > answer.probability
    sure = choose(best, Options(top_k=9, min_probability=0.5), Answering(), None)
    assert not sure and [other.text for other in sure.alternatives] == ["1912"]
    assert choose(best, Options(), Answering(temperature=5), None).probability < answer.probability


def test_no_answer_is_one_of_the_candidates_where_it_is_asked_for(answerer: QuestionAnswerer) -> None:
    always, maybe = (answerer(QUESTION, CONTEXT, handle_impossible_answer=choice) for choice in (None, True))
    assert always.no_answer_probability is None
    assert maybe.no_answer_probability is not None and 0 < maybe.no_answer_probability < 1
    shares = answerer(QUESTION, CONTEXT, top_k=20, overlap_threshold=1, handle_impossible_answer=True)
    spans = [a.probability for a in (shares, *shares.alternatives) if a]
    assert sum(spans) + maybe.no_answer_probability == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("size", [1, 3, "auto"])
def test_batches_of_any_size_answer_alike(answerer: QuestionAnswerer, size: Any) -> None:
    contexts = [CONTEXT[: 60 + 37 * number] for number in range(12)]
    expected = [answerer(QUESTION, context) for context in contexts]
    for one, other in zip(answerer([QUESTION] * 12, contexts, batch_size=size), expected, strict=True):
        assert (one.text, one.start) == (other.text, other.start)
        assert one.probability == pytest.approx(other.probability, abs=1e-5)


def test_a_long_text_is_answered_as_in_one_piece(answerer: QuestionAnswerer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"In {year} Ada Brill built the bridge of Tollen{year} from stone. " for year in range(1500, 1800))
    whole = answerer(QUESTION, text)
    monkeypatch.setattr(build, "LONG_TEXT", 500)
    monkeypatch.setattr(long_texts, "PIECE_LENGTH", 3000)
    assert answerer(QUESTION, text) == whole


def test_threads_share_an_answerer(answerer: QuestionAnswerer) -> None:
    asks = [(f"When was bridge {n} built?", CONTEXT[n : 300 + 7 * n]) for n in range(24)]
    expected = [answerer(*ask) for ask in asks]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda ask: answerer(*ask), asks * 3))
    for one, other in zip(found, expected * 3, strict=True):
        assert (one.text, one.start) == (other.text, other.start)


@pytest.mark.parametrize(
    ("question", "context", "options", "message"),
    [
        ("", CONTEXT, {}, "question 1: its question is empty; give a text"),
        (QUESTION, " \n", {}, "question 1: its context is empty; give a text"),
        (QUESTION, ["", " \n"], {}, "question 1: all of its 2 contexts are empty; give a text"),
        (["Who?", QUESTION], [CONTEXT, ""], {}, "question 2: its context is empty; give a text"),
        (QUESTION, ["", None], {}, "question 1: its context is no text; give a text"),
        (QUESTION, "a\ud800", {}, "question 1: its context holds half of a surrogate pair; give a text"),
        (QUESTION, 7, {}, "context: give a text, or a list of texts, not int"),
        (QUESTION, [7], {}, "question 1: its context is no text; give a text"),
        (QUESTION, [*"abcdef", 7], {}, "question 1: its context is no text; give a text"),
        (QUESTION, [*"abcdef", ["g"]], {}, "question 1: its context is no text; give a text"),
        (QUESTION, [*"abcdef", "a\ud800"], {}, "question 1: its context holds half of a surrogate pair; give a text"),
        (["a", "b"], ["a", "b", "c"], {}, "2 questions and 3 contexts; give one context, or as many"),
        (QUESTION, [], {}, "no context; give at least one"),
        ("word " * 60, CONTEXT, {}, r"question 1, 'word .*…', is too long: .* windows of 64 tokens; shorten it"),
        (QUESTION, CONTEXT, {"min_probability": 2}, "min_probability=2: should be less than or equal to 1"),
        (QUESTION, CONTEXT, {"overlap_threshold": -1}, "overlap_threshold=-1: should be greater than or equal to 0"),
        (QUESTION, CONTEXT, {"top_k": 0}, "top_k=0: should be greater than 0"),
        (QUESTION, CONTEXT, {"batch_size": "all"}, "batch_size='all': .* integer, .* or should be 'auto'"),
        (QUESTION, CONTEXT, {"max_answer_length": 1.5}, "max_answer_length=1.5: should be a valid integer"),
        (QUESTION, CONTEXT, {"topk": 3}, "topk: no such option; there are top_k, read_texts, max_answer_length,"),
        ([QUESTION], CONTEXT, {"language": ["de", "en"]}, "2 languages for 1 questions; give one, or one for each"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_one_line(
    answerer: QuestionAnswerer, question: Any, context: Any, options: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        answerer(question, context, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int64"}, "dtype=int64: no kind of number to compute with; give float32"),
        ({"device": "tpu"}, "device=tpu: .*; give cpu"),
        ({"max_length": 9000}, "^max_length=9000: the model has 512 positions; give at most 512"),
        ({"stride": 500}, "^stride=500: "),
        ({"stride": -40}, "^stride=-40: should be greater than or equal to 0"),
        ({"max_length": 0}, "^max_length=0: should be greater than 0"),
        ({"max_length": 64.5}, r"^max_length=64\.5: should be a valid integer"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(answerer: QuestionAnswerer, tiny: Path, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        QuestionAnswerer.from_pretrained(str(tiny), **options)
    if options.keys() <= {"max_length", "stride"}:
        with pytest.raises(UserError, match=message):
            answerer.cut(**options)


def test_a_folder_without_a_model_and_a_model_without_a_span_head(
    tmp_path: Path, minilm: PreTrainedTokenizerFast
) -> None:
    with pytest.raises(UserError, match="none: no such folder"):
        QuestionAnswerer.from_pretrained(f"{tmp_path}/none")
    with pytest.raises(UserError, match=r": no config\.json in that folder"):
        QuestionAnswerer.from_pretrained(str(tmp_path))
    (tmp_path / "data.v2").mkdir()
    with pytest.raises(UserError, match=rf"^{tmp_path}/data\.v2: no config\.json"):
        QuestionAnswerer.from_pretrained(f"{tmp_path}/data.v2")
    config = BertConfig(
        vocab_size=len(minilm), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertModel(config).save_pretrained(tmp_path / "encoder")
    minilm.save_pretrained(tmp_path / "encoder")
    assert not QuestionAnswerer.from_pretrained(str(tmp_path / "encoder")).engine.trained_head


def test_an_answer_fits_other_programs() -> None:
    answer = Answer("Ada Brill", 3, 12, 4.5, 0.75)
    assert answer.to_dict() == {"answer": "Ada Brill", "score": 0.75, "start": 3, "end": 12}
