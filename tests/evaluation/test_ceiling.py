"""The best possible figures of a split's windows, against cutting every label by hand."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from helpers.paths import real_data
from qa.data.example import Example, ReferenceAnswer
from qa.data.reading.examples import read_examples
from qa.data.windows.build import build_windows
from qa.data.windows.tokenizer import load_tokenizer, lost_letters
from qa.evaluation.ceiling import ceiling
from qa.evaluation.metrics import scores


def by_hand(examples: list[Example], tokenizer: Any, most: int) -> tuple[float, float, list[int]]:
    """EM and F1 in percent and the tokens of each answer: where its tokens are not the answer, of all parts of the
    context with at most so many tokens the best."""
    exact, overlap, lengths = [], [], []
    for example in examples:
        begin, end = example.label or (0, 0)
        offsets = tokenizer(example.context, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        tokens = [(first, last) for first, last in offsets if first < end and last > begin]
        texts = [example.context[tokens[0][0] : tokens[-1][1]]]
        lengths.append(len(tokens))
        if len(tokens) > most or texts[0] != example.context[begin:end]:
            parts = (offsets[first : first + most] for first in range(len(offsets)))
            texts = [example.context[part[0][0] : last] for part in parts for _, last in part]
        references = [answer.text for answer in example.answers]
        each = [scores(text, references) for text in texts]
        exact.append(max(one for one, _ in each))
        overlap.append(max(one for _, one in each))
    return 100 * sum(exact) / len(exact), 100 * sum(overlap) / len(overlap), lengths


@pytest.mark.parametrize(("language", "most"), [("en", 30), ("de", 12), ("es", 30), ("zh", 30), ("ar", 30)])
def test_no_part_of_a_context_scores_more(language: str, most: int, mbert: PreTrainedTokenizerFast) -> None:
    examples = read_examples(str(real_data(f"xquad.{language}.json")), limit=600).examples
    found = ceiling(examples, build_windows(examples, mbert, 512, 128), most)
    exact, overlap, lengths = by_hand(examples, mbert, most)
    assert found is not None
    assert found.exact_match == pytest.approx(exact)
    assert found.f1 == pytest.approx(overlap)
    assert found.too_long == pytest.approx(sum(length > most for length in lengths) / len(lengths))
    assert sum(length <= found.length_99 for length in lengths) >= 0.99 * len(lengths)
    assert found.exact_match > (99 if found.too_long < 0.01 else 80)


def test_a_tokenizer_that_strips_marks_cuts_arabic_answers_whole(minilm: PreTrainedTokenizerFast) -> None:
    examples = read_examples(str(real_data("xquad.ar.json"))).examples
    windows = build_windows(examples, minilm, 512, 128)
    whole, cut = ceiling(examples, windows, 512), ceiling(examples, windows, 30)
    assert whole is not None and cut is not None
    assert whole.exact_match == 100
    assert 100 * (1 - cut.too_long) == pytest.approx(cut.exact_match, abs=0.2) and cut.exact_match < cut.f1 < 100
    assert "of the answers have more than decode.max_answer_length=30 tokens" in cut.warning(30)


def test_every_reference_counts_and_so_does_the_length_limit(minilm: PreTrainedTokenizerFast) -> None:
    context = "The mill of Arlbury was sold by the heirs of Anna Kern to the town of Arlbury in the year 1950."
    long = "the heirs of Anna Kern"
    one = Example(id="a", question="q", context=context, answers=(ReferenceAnswer(long, context.index(long)),))
    two = one.model_copy(update={"answers": (*one.answers, ReferenceAnswer("Anna Kern"))})
    for example, most, exact, overlap in ((one, 5, 100, 100), (one, 2, 0, 200 * 2 / 6), (two, 2, 100, 100)):
        found = ceiling([example], build_windows([example], minilm, 64, 8), most)
        assert found is not None
        assert found.exact_match == exact
        assert found.f1 == pytest.approx(overlap)


def test_marks_behind_the_last_token_belong_to_the_answer(minilm: PreTrainedTokenizerFast) -> None:
    context = "सिद्धांत में दबाव की शर्तें लिखी हैं। กรุงเทพฯ มีน้ำ"
    for text in ("दबाव की शर्तें", "सिद्धांत", "มีน้ำ"):
        answers = (ReferenceAnswer(text=text, answer_start=context.index(text)),)
        example = Example(id="a", question="q", context=context, answers=answers)
        found = ceiling([example], build_windows([example], minilm, 64, 8), 30)
        assert found is not None
        assert found.exact_match == 100, text


def test_unknown_answers_have_no_ceiling_and_of_an_answer_in_no_window_a_part_counts(
    minilm: PreTrainedTokenizerFast,
) -> None:
    context = "one two three four five six seven eight nine ten " * 3
    unknown = Example(id="a", question="q", context=context)
    assert ceiling([unknown], build_windows([unknown], minilm, 16, 4), 30) is None
    whole = unknown.model_copy(update={"answers": (ReferenceAnswer(text=context.strip(), answer_start=0),)})
    impossible = unknown.model_copy(update={"is_impossible": True})
    examples = [unknown, whole, impossible]
    found = ceiling(examples, build_windows(examples, minilm, 16, 4), 30)
    assert found is not None
    room = 16 - 3 - 1
    assert found.exact_match == 50
    assert found.f1 == pytest.approx(50 + 50 * 2 * room / (room + 30))


def test_offsets_that_lose_letters_are_repaired(tmp_path: Path) -> None:
    folder = os.environ.get("QA_CASES")
    if not folder:
        pytest.skip("QA_CASES is not set: a tokenizer with shifted offsets is not tested")
    script = Path(folder) / "18-shifted-offsets" / "make_tokenizer.py"
    words = [sys.executable, str(script), str(real_data("xquad.en.json")), str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True)
    assert lost_letters(PreTrainedTokenizerFast.from_pretrained(tmp_path).backend_tokenizer) == "is"
    tokenizer = load_tokenizer(str(tmp_path))
    examples = read_examples(str(real_data("xquad.en.json")), limit=200).examples
    found = ceiling(examples, build_windows(examples, tokenizer, 384, 128), 60)
    assert found is not None
    assert found.exact_match > 95
