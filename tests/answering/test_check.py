"""A model that was trained elsewhere is calibrated with a file of questions."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import BertConfig, BertModel

from qa import QuestionAnswerer, UserError
from qa.answering import calibrate
from qa.answering.check import check_answers, read_known
from qa.answering.files import answer_file, as_json
from qa.answering.options import AnswerOptions
from qa.calibrate import main
from qa.data.reading.overlap import context_hashes
from qa.model.answering import Answering
from qa.statistics.calibration import calibrated
from qa.storage import content_hash

Files = tuple[Path, Path]


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["qa.calibrate", *map(str, words)])
    main()


def test_a_model_is_calibrated_and_its_other_settings_stay(
    tiny: Path, small_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    Answering(max_length=64, stride=16, max_answer_length=9).save(model)
    plain = QuestionAnswerer.from_pretrained(str(model))
    files = [tmp_path / "a.de.json", tmp_path / "a.en.json"]
    for path in files:
        shutil.copy(small_files[0], path)
    run(monkeypatch, model, *files)
    known = Answering.load(str(model))
    assert (known.max_length, known.stride, known.max_answer_length) == (64, 16, 9)
    assert known.temperature and set(known.temperature_by_language) == {"de", "en"}
    shown = capsys.readouterr().out
    assert "80 questions" in shown and "Expected calibration error" in shown
    assert f"qa.json: temperature {known.temperature:.2f}, de {known.temperature_by_language['de']:.2f}" in shown
    later, text = QuestionAnswerer.from_pretrained(str(model)), "It was built in 1822 of grey stone by Ada Brill."
    one, two = plain("Who built it?", text), later("Who built it?", text)
    assert one.text == two.text and one.probability != two.probability
    de = later("Who built it?", text, language="de")
    assert de.probability == later(["Who built it?"], text, language=["de"])[0].probability != two.probability
    with pytest.raises(UserError, match="language=german: there are de, en; give one of them, or none"):
        later("Who built it?", text, language="german")
    assert plain("Who built it?", text, language="german") == one  # it has one temperature for all
    shutil.copy(small_files[1], tmp_path / "b.de.json")
    shutil.copy(small_files[1], tmp_path / "b.fr.json")
    found = {}
    cases: dict[str, AnswerOptions] = {"de": {}, "fr": {}, "fr-de": {"language": "de"}}
    for name, options in cases.items():
        answer_file(later, f"{tmp_path}/b.{name[:2]}.json", tmp_path / name, options)
        found[name] = [json.loads(line)["probability"] for line in (tmp_path / name).read_text().splitlines()]
    assert found["de"] == found["fr-de"] != found["fr"]  # of which the model has no temperature
    with pytest.raises(UserError, match="language=german"):
        answer_file(later, f"{tmp_path}/b.de.json", tmp_path / "x", {"language": "german"})
    assert not list(tmp_path.glob("x*"))


def test_what_a_model_is_calibrated_with_is_kept_and_its_training_file_is_reported(
    tiny: Path, small_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model = tmp_path / "run" / "model"
    shutil.copytree(tiny, model)
    contents = [content_hash(path) for path in small_files]
    trained = {"settings": {"seed": 7}, "inputs": {"train": contents[:1], "validation": ["bb"]}}
    Answering(max_length=64, stride=16, chosen_on={"epoch": ["bb"], "temperature": ["bb"]}, trained=trained).save(model)
    run(monkeypatch, tmp_path / "run", small_files[1])
    assert capsys.readouterr().err == ""
    known = Answering.load(str(model))
    assert known.chosen_on == {"epoch": ["bb"], "temperature": contents[1:]}
    assert known.trained == trained
    run(monkeypatch, model, small_files[0])
    assert "WARNING: the model was trained on these questions: its prob" in capsys.readouterr().err


def test_no_question_on_a_text_that_the_model_was_trained_on_is_taken(
    tiny: Path, small_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: Any
) -> None:
    model, part, both = tmp_path / "model", tmp_path / "part.jsonl", [*map(str, small_files)]
    shutil.copytree(tiny, model)
    examples = read_known(str(small_files[0]))
    np.save(model / "contexts.npy", context_hashes(examples))
    texts = [f"{example.context.upper()} " for example in examples]
    rows = [{"question": "Where?", "context": text, "answer": text[:9]} for text in texts]
    part.write_bytes(b"".join(map(as_json, rows)))
    for file in (both[0], part):
        with pytest.raises(UserError, match=r"40 of 40 questions are on texts that .*model was trained on; give quest"):
            run(monkeypatch, model, file)
    assert not (model / "qa.json").exists()
    run(monkeypatch, model, *both)
    assert "10 questions" in capsys.readouterr().out
    assert f"40 of 50 questions are on texts that {model} was trained on: they are skipped, such as" in caplog.text


def test_the_first_qa_json_is_kept(
    tiny: Path, small_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    Answering(temperature=1.25).save(model)
    before = (model / "qa.json").read_bytes()
    for file in small_files:
        run(monkeypatch, model, file)
    assert (model / "qa.json.old").read_bytes() == before != (model / "qa.json").read_bytes()


def test_a_file_with_unanswerable_questions_gives_a_threshold(
    tiny: Path, v2_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    run(monkeypatch, model, v2_files[0])
    assert Answering.load(str(model)).no_answer_threshold is None
    shown = capsys.readouterr()
    assert "40 questions" in shown.out and "F1 nan" not in shown.out
    monkeypatch.setattr(calibrate, "ENOUGH", 20)
    run(monkeypatch, model, v2_files[0])
    threshold = json.loads((model / "qa.json").read_text())["no_answer_threshold"]
    assert f"; no answer where the null odds are above {threshold:.2f}" in " ".join(capsys.readouterr().out.split())
    answerer = QuestionAnswerer.from_pretrained(str(model))
    found = check_answers(answerer, read_known(str(v2_files[0]))).figures()
    assert found["kept_threshold"] == pytest.approx(threshold, abs=1e-4)
    assert found["f1"] == pytest.approx(found["best_f1"])
    assert answerer("Who?", "Ada Brill built it.").no_answer_probability is not None


def test_a_model_that_may_refuse_is_judged_as_such_whatever_the_file(
    tiny: Path, small_files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    Answering(no_answer_threshold=-5.0, max_length=64, stride=16).save(model)
    examples = read_known(str(small_files[0]))
    found = check_answers(QuestionAnswerer.from_pretrained(str(model)), examples)
    assert not any(question.prediction for question in found.questions)
    run(monkeypatch, model, small_files[0])
    assert Answering.load(str(model)).no_answer_threshold == -5.0
    answerer = QuestionAnswerer.from_pretrained(str(model))
    scored, _ = calibrated(((q, found.answers[q.id]) for q in found.questions), answerer.answering.scales)
    asked = {example.id: example for example in examples}
    answers = answerer([asked[q.id].question for q in scored], [asked[q.id].context for q in scored])
    assert [answer.probability for answer in answers] == pytest.approx([q.probability for q in scored], abs=1e-5)


def test_what_cannot_be_calibrated_is_one_line(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"none: no such folder; give one that holds a model, as its qa.json is written"
    ):
        run(monkeypatch, tmp_path / "none", "x.json")
    row = '{"question": "Who?", "context": "Ada Brill.", "answer": "Ada Brill"}'
    (tmp_path / "asked.jsonl").write_text(f"{row}\n")
    (tmp_path / "asks.jsonl").write_text('{"question": "Who?", "context": "Ada Brill."}\n')
    with pytest.raises(UserError, match=r"it has no answer \(there: question, context\); give data.columns.answer"):
        run(monkeypatch, tiny, tmp_path / "asks.jsonl")
    assert not (tiny / "qa.json").exists()
    encoder = tmp_path / "encoder"
    BertModel(BertConfig.from_pretrained(tiny)).save_pretrained(encoder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny / name, encoder)
    with pytest.raises(UserError, match="the model was not trained on questions: it has no span head"):
        run(monkeypatch, encoder, tmp_path / "asked.jsonl")
