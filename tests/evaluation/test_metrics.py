"""EM and F1 against a re-statement of the official definition, and against torchmetrics' own."""

import json
import re
import string
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.text import squad as torchmetrics_squad

from helpers.paths import real_data
from qa.data.reading.examples import read_examples
from qa.evaluation import metrics
from qa.evaluation.metrics import normalize
from qa.evaluation.squad_metric import SquadMetric

TEXT = st.lists(
    st.sampled_from(
        ["the", "The", "a", "an", "cat", "Cat's", "1,912", "—", "ﬁ", "the-end", "theatre", "!", "\u00a0", "  ", "北京"]
    ),
    max_size=6,
).map(" ".join)


def words(text: str) -> list[str]:
    """The official normalisation, step by step."""
    text = "".join(character for character in text.lower() if character not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def restated(prediction: str, references: list[str]) -> tuple[float, float]:
    exact, overlap = [], []
    for reference in references:
        predicted, expected = words(prediction), words(reference)
        exact.append(predicted == expected)
        left, same = list(expected), 0
        for word in predicted:
            if word in left:
                left.remove(word)
                same += 1
        overlap.append(2 * same / (len(predicted) + len(expected)) if same else 0)
    return float(max(exact)), max(overlap)


def scores(prediction: str, references: list[str]) -> tuple[float, float]:
    metric = SquadMetric()
    metric.update({"x": prediction}, {"x": references})
    result = metric.compute()
    return result["exact_match"].item(), result["f1"].item()


@settings(deadline=None)
@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_it_agrees_with_the_restated_definition_and_with_torchmetrics(prediction: str, references: list[str]) -> None:
    found = scores(prediction, references)
    assert found == pytest.approx([100 * value for value in restated(prediction, references)])
    if all(map(words, [prediction, *references])):  # torchmetrics scores two empty sides 1, the official script 0
        theirs = torchmetrics_squad(
            {"prediction_text": prediction, "id": "x"},
            {"answers": {"answer_start": [0] * len(references), "text": references}, "id": "x"},
        )
        assert found == pytest.approx((theirs["exact_match"].item(), theirs["f1"].item()), rel=1e-5)


@pytest.mark.parametrize("language", ["en", "de", "es", "zh", "ar"])
def test_it_agrees_on_every_real_question(language: str) -> None:
    """Predictions: the answer of the question before, the first half of the answer, the answer in capitals."""
    examples = read_examples(str(real_data(f"xquad.{language}.json"))).examples
    for before, example in pairwise(examples):
        references = [answer.text for answer in example.answers]
        first = references[0]
        for prediction in (before.answers[0].text, first[: len(first) // 2 + 1], f"The {first.upper()}!"):
            assert metrics.scores(prediction, references) == pytest.approx(restated(prediction, references))


def test_the_best_reference_counts() -> None:
    assert scores("in 1912", ["1913", "1912", "in the year 1912"]) == pytest.approx((0.0, 80.0))


def test_two_empty_sides_match_exactly_but_have_no_f1() -> None:
    assert scores("the", ["a"]) == (100.0, 0.0)


def test_an_id_that_comes_again_counts_once() -> None:
    metric = SquadMetric()
    metric.update({"x": "cat", "y": "dog"}, {"x": ["cat"], "y": ["cow"]})
    metric.update({"x": "cat"}, {"x": ["cat"]})
    assert metric.compute()["exact_match"].item() == 50.0
    metric.reset()
    metric.update({"y": "dog"}, {"y": ["cow"]})
    assert metric.compute()["exact_match"].item() == 0.0


def test_two_processes_with_the_same_questions_have_the_figures_of_one() -> None:
    metric = SquadMetric(sync_on_compute=False)
    for name, answer in (("x", "cat"), ("y", "dog")):
        metric.update({name: answer}, {name: ["cat"]})
    metric.sync(dist_sync_fn=lambda state, **_: [state, state], distributed_available=lambda: True)
    assert metric.compute()["exact_match"].item() == 50.0


def test_without_a_question_the_figures_are_no_numbers() -> None:
    metric = SquadMetric()
    metric.update({}, {})
    assert all(figure.isnan() for figure in metric.compute().values())


def test_the_figures_are_of_double_precision() -> None:
    prediction, reference = "cat", "cat dog cow hen pig"
    assert scores(prediction, [reference])[1] == 100 * metrics.scores(prediction, [reference])[1]


def test_normalize_keeps_words_that_only_begin_like_an_article() -> None:
    assert normalize("The theatre, an Analysis of a-b!") == "theatre analysis of ab"


def test_an_article_between_dashes_leaves_a_gap() -> None:
    assert normalize("cat—the—dog") == "cat— —dog"


def test_the_figures_do_not_depend_on_the_order() -> None:
    texts = {str(n): json.dumps(n * "cat ") for n in range(50)}
    results = []
    for names in (list(texts), list(texts)[::-1]):
        metric = SquadMetric()
        for name in names:
            metric.update({name: texts[name]}, {name: ["cat cat cat"]})
        results.append(metric.compute()["f1"].item())
    assert results[0] == results[1]


def test_it_stays_on_the_cpu_where_its_module_moves_to_a_device_without_float64() -> None:
    """On `meta`, which has no values at all, as on Apple's GPUs, which have no float64."""
    metric = SquadMetric().to("meta")
    metric.update({"a": "grey stone"}, {"a": ["stone"]})
    assert {name: float(value) for name, value in metric.compute().items()} == {
        "exact_match": 0.0, "f1": pytest.approx(200 / 3),
    }  # fmt: skip
