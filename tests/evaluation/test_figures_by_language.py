"""Figures by language, the gap to that of training, and translations as one cluster."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.paths import real_data
from helpers.questions import question
from qa.data.reading.examples import read_examples
from qa.data.squad_data import SquadData
from qa.evaluation.answers import Evaluation, figures_by_language, score_question
from qa.evaluation.languages import language_figures
from qa.evaluation.metrics import scores
from qa.review.scores import score_predictions
from qa.review.verdict import remarks
from qa.runs.results import EvaluatedPart, PerSplit, Results, Row, monitor_in_words
from qa.runs.results_table import LANGUAGE_NOTE, markdown_language_table
from qa.statistics.intervals import clusters

LANGUAGES = ("ar", "de", "en", "es", "zh")
ASKED = [
    question("zh/1", "北京大学", "北京", language="zh", exact_match=0.0, f1=0.0),
    question("zh/2", "大学", "大学", language="zh"),
    question("de/1", "Brücke", "die Brücke", language="de", exact_match=0.0, f1=2 / 3),
    question("3", "grey", "1912"),
]  # fmt: skip


def results(identity: dict[str, Any] | None = None, questions: Any = ASKED) -> Results:
    empty, row = PerSplit(), Row(f1=41.7, exact_match=25.0)
    return Results(
        epochs=[row], best=row, windows=empty, examples=empty, windows_per_second=empty, devices=1,
        identity=identity or {}, by_language=language_figures(questions),
        evaluated={"questions": 250, "of": 250},
    )  # fmt: skip


def test_figures_by_language_are_the_official_ones_with_the_languages_own_beside() -> None:
    found = json.loads(results({"languages": ["de"]}).model_dump_json())
    assert found["by_language"]["zh"] == pytest.approx(
        {"exact_match": 50, "f1": 50, "mlqa_exact_match": 50, "mlqa_f1": 100 * (2 / 3 + 1) / 2, "questions": 2}
    )
    assert found["by_language"]["de"] == pytest.approx(
        {"exact_match": 0, "f1": 200 / 3, "mlqa_exact_match": 100, "mlqa_f1": 100, "questions": 1}
    )
    assert found["language_mean"] == pytest.approx(
        {"exact_match": 25, "f1": 175 / 3, "mlqa_exact_match": 75, "mlqa_f1": 100 * (5 / 6 + 1) / 2, "questions": 3}
    )
    assert found["language_gap"] == pytest.approx({"trained": "de", "exact_match": -50, "f1": 50 / 3})
    flat = figures_by_language(ASKED)
    assert {*flat} == {f"{name}_{code}" for name in ("exact_match", "f1") for code in ("de", "zh", "mean")}
    assert [flat["f1_mean"], flat["exact_match_zh"]] == pytest.approx([175 / 3, 50])
    assert Results.model_validate(found).model_dump() == results({"languages": ["de"]}).model_dump()


@pytest.mark.parametrize("identity", [{}, {"languages": [""]}, {"languages": ["de", "zh"]}, {"languages": ["fr"]}])
def test_no_gap_is_named_where_the_language_of_training_is_not_known_to_be_one(identity: dict[str, Any]) -> None:
    assert results(identity).language_gap is None
    assert results({"trained": identity, "languages": ["de"]}).language_gap is None  # an evaluation's is the model's


def test_the_figures_are_named_for_people() -> None:
    table = markdown_language_table(results())
    assert table.splitlines()[0] == "| Language | EM | F1 | MLQA EM | MLQA F1 | Questions |"
    assert "| zh | 50.00 | 50.00 | 50.00 | 83.33 | 2 |\n| mean | 25.00 |" in table and LANGUAGE_NOTE in table
    said = list(remarks(results({"languages": ["de"]})))
    assert said[0].startswith("Gap to de, the language of the training data: F1 16.67, EM -50.00")
    assert said[1] == "247 questions whose language is not known: not in the figures by language."
    assert "mean" not in markdown_language_table(results(questions=ASKED[:2]))
    assert markdown_language_table(results(questions=ASKED[3:])) == ""
    names = ["f1", "val_loss", "exact_match_de", "f1_mean"]
    assert [*map(monitor_in_words, names)] == ["F1", "validation loss", "EM of de", "F1 as the mean of the languages"]


def test_english_alone_has_no_table_since_the_figures_of_the_run_are_its_own() -> None:
    english = [question("1", "grey", "1912", language="en")]
    some = results(questions=english)
    assert "| en |" in markdown_language_table(some)  # 249 questions are in another language, or in none that is known
    every = some.model_copy(update={"evaluated": EvaluatedPart(questions=1, of=250)})
    assert markdown_language_table(every) == "" and [*every.by_language] == ["en"]
    german = results(questions=[english[0]._replace(language="de")])
    assert "| de |" in markdown_language_table(german.model_copy(update={"evaluated": every.evaluated}))


def test_one_language_alone_adds_no_figures_to_an_evaluation_and_no_answer_has_no_language() -> None:
    nothing = question("4", "grey", "1912", language="zh")._replace(answers=[], prediction="", exact_match=0.0, f1=0.0)
    found = language_figures([ASKED[1], nothing])  # no prediction at all, which scores 0
    assert (found["zh"].exact_match, found["zh"].mlqa_exact_match) == (50, 50)
    assert figures_by_language(ASKED[:2]) == {}


def xquad(limit: int | None = None) -> list[Any]:
    files = [str(real_data(f"xquad.{language}.json")) for language in LANGUAGES]
    return read_examples(files).examples[:: 1 if limit is None else limit]


def test_predictions_for_five_languages_have_the_figures_of_each(tmp_path: Path) -> None:
    """Each answer with its first word or character gone: what is left of it counts."""
    examples = xquad()
    predictions = {e.id: e.answers[0].text[len(e.answers[0].text.split(" ")[0]) // 2 :] for e in examples}
    (tmp_path / "predictions.json").write_text(json.dumps(predictions))
    files = [str(real_data(f"xquad.{language}.json")) for language in LANGUAGES]
    data = SquadData(validation_file=files, predictions_file=str(tmp_path / "predictions.json"))
    questions, found = score_predictions(data, {"trained": {"languages": ["en"]}})
    assert [*found.by_language] == [*LANGUAGES] and found.language_mean and found.language_gap and found.best
    for code, figures in found.by_language.items():
        pairs = [scores(predictions[e.id], [a.text for a in e.answers], code) for e in examples if e.language == code]
        assert (figures.questions, len(pairs)) == (1190, 1190)
        assert figures.mlqa_f1 == pytest.approx(100 * sum(f1 for _, f1 in pairs) / 1190)
    chinese = found.by_language["zh"]
    assert chinese.f1 < chinese.mlqa_f1 - 20  # without spaces the official F1 is little more than EM
    assert found.best.f1 == pytest.approx(found.language_mean.f1)  # all have as many questions
    assert getattr(found.best, "f1_zh") == pytest.approx(chinese.f1)  # noqa: B009
    evaluation = Evaluation(questions, {}, np.zeros(0, np.float32))
    assert evaluation.figures()["f1_mean"] == pytest.approx(found.language_mean.f1)


def test_translations_of_a_context_are_one_cluster() -> None:
    asked = [score_question(e, None) for e in xquad()]
    assert str(clusters(asked)) == "48 articles"
    untitled = [q._replace(title=None) for q in asked]
    assert str(clusters(untitled)) == "240 paragraphs" == str(clusters(untitled[:1190]))
    assert str(clusters([q._replace(title=f"{q.language} {q.title}") for q in asked])) == "48 articles"
    part = untitled[::7]  # as trainer.limit_val_batches draws them
    assert len(clusters(part).sizes) < len({q.context for q in part})
    unknown = [q._replace(language=None) for q in untitled]
    assert str(clusters(unknown)) == "1,200 paragraphs"


def test_ids_that_are_mere_numbers_join_nothing() -> None:
    def asked(language: str, per_paragraph: int) -> list[Any]:
        return [
            question(f"own.{language}/{n}", "a", "a", context=f"a {language} {n // per_paragraph}", language=language)
            for n in range(120)
        ]

    assert str(clusters([*asked("en", 5), *asked("de", 4)])) == "54 paragraphs"
    assert str(clusters([*asked("en", 5), *asked("de", 5)])) == "24 paragraphs"  # these may be translations
    numbered = [q._replace(id=f"{n}.0/1") for n, q in enumerate([*asked("en", 5), *asked("de", 4)])]
    assert str(clusters(numbered)) == "54 paragraphs"  # ids that restart in every paragraph
