"""SQuAD v2 from the command line: a fit, its files as the official script takes them, and what later stages do."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from helpers import squad_v2
from helpers.commands import Run, quick_fit
from helpers.wandb_file import records
from qa import QuestionAnswerer
from qa.evaluation.question_table import read_questions
from qa.review.report import RunReport
from qa.review.run_page import write_page
from qa.runs.folder import RunFolder
from qa.runs.results import V2_FIGURES
from qa.training.checkpoint_files import CheckpointFiles

Files = tuple[Path, Path]
WRITTEN = ("predictions.json", "null_odds.json", "nbest.json", "questions.parquet")


@pytest.fixture(scope="module")
def fitted(train_py: Run, tiny: Path, v2_files: Files, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished run, whose best threshold is not the one that it was evaluated with; what it printed."""
    folder = tmp_path_factory.mktemp("v2-fit")
    done = train_py(
        *quick_fit(v2_files, tiny, folder / "cache"), "optimizer.lr=5e-3", "trainer.max_epochs=6", "logger=wandb",
        "logger.mode=offline", "logger.answers=true", f"hydra.run.dir={folder}/run",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "run", done.stdout


def read(folder: Path, name: str = "results.json") -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def gold(file: Path) -> dict[str, list[str]]:
    return {
        question["id"]: [answer["text"] for answer in question["answers"]]
        for article in read(file.parent, file.name)["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }


def restated(folder: Path, file: Path) -> Mapping[str, float]:
    """The figures of a folder's files by the definition of SQuAD v2."""
    spans = {
        name: next(answer["text"] for answer in candidates if answer["text"])
        for name, candidates in read(folder, "nbest.json").items()
    }
    return squad_v2.figures(gold(file), read(folder, "predictions.json"), spans, read(folder, "null_odds.json"))


def evaluated(train_py: Run, folder: Path, *arguments: str | Path) -> Path:
    """The folder of a stage with short windows."""
    done = train_py(
        "data=local", f"data.cache_dir={folder.parent}/cache", "data.max_length=64", "data.stride=16",
        "trainer.accelerator=cpu", f"hydra.run.dir={folder}", *arguments,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return folder


def test_the_figures_are_those_of_the_definition_and_every_row_has_them(
    fitted: tuple[Path, str], v2_files: Files
) -> None:
    folder, _ = fitted
    found = read(folder)
    assert {name: found["best"][name] for name in ("exact_match", "f1", *V2_FIGURES)} == pytest.approx(
        restated(folder, v2_files[1])
    )
    assert all(set(V2_FIGURES) <= row.keys() for row in found["epochs"])
    assert found["no_answer_threshold"] == 0.0
    given = {name: {a["text"]: a["probability"] for a in rows} for name, rows in read(folder, "nbest.json").items()}
    wrong = [(given[q.id][q.prediction] - (q.exact_match or 0)) ** 2 for q in read_questions(folder)]
    assert found["calibration"]["before"]["brier"] == pytest.approx(fmean(wrong))  # of the same answers
    # else this file would prove little
    assert 0 < found["best"]["HasAns_f1"] and found["best"]["f1"] < found["best"]["best_f1"]


def test_no_answer_is_given_where_the_null_score_is_higher(fitted: tuple[Path, str]) -> None:
    folder, _ = fitted
    predictions, odds = read(folder, "predictions.json"), read(folder, "null_odds.json")
    assert predictions.keys() == odds.keys() == read(folder, "nbest.json").keys()
    for name, candidates in read(folder, "nbest.json").items():
        [null] = [answer for answer in candidates if not answer["text"]]
        best = next(answer for answer in candidates if answer["text"])
        assert odds[name] == null["score"] - best["score"]
        assert predictions[name] == candidates[0]["text"] == ("" if odds[name] > 0 else best["text"])
        assert len(candidates) == 21
    assert {question.id: question.prediction for question in read_questions(folder)} == predictions


def test_whoever_reads_the_run_sees_both_kinds_of_questions(fitted: tuple[Path, str]) -> None:
    folder, printed = fitted
    best = read(folder)["best"]
    table, card, page = ((folder / name).read_text() for name in ("results.md", "model/README.md", "report.html"))
    row = " | ".join(f"{best[name]:.2f}" for name in V2_FIGURES)
    assert f"| {best['epoch']:.1f} | {row} |" in table
    assert row in card and "SQuAD v2.0" in card and "always gives one" not in card
    assert f"more than {best['kept_threshold']:.2f} above the score of the best span" in " ".join(card.split())
    assert "HasAns EM  HasAns F1  NoAns EM" in printed
    assert "60 questions, 20 of them without an answer, 120 windows" in printed
    assert "are trained as (0, 0)" not in printed  # of answers that no window holds
    assert f"later stages use {best['kept_threshold']:.2f}" in " ".join(printed.split())
    assert "<th>HasAns EM</th>" in page and "<td>unanswerable</td><td>8</td>" in page
    shown = json.loads(page.partition('id="data">')[2].partition("</script>")[0])["questions"]
    assert {tuple(q["answers"]) for q in shown if q["id"].startswith("who")} == {("no answer",)}
    assert "no answer" in {q["prediction"] for q in shown}


def test_loggers_have_the_figures_of_every_row(fitted: tuple[Path, str]) -> None:
    folder, _ = fitted
    rows = read(folder)["epochs"]
    with (folder / "metrics.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [int(line["step"]) for line in lines if line["loss"]] == list(range(1, rows[-1]["step"] + 1))
    logged = [line for line in lines if line["val_loss"]]
    [offline] = (folder / "wandb").glob("offline-run-*")
    sent = [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records(offline)
        if record.WhichOneof("record_type") == "history"
    ]
    sent = [row for row in sent if "val/loss" in row]
    for name in V2_FIGURES:
        assert [float(line[name]) for line in logged] == [row[name] for row in rows]
        assert [row[f"val/{name}"] for row in sent] == [row[name] for row in rows]


def test_the_best_threshold_is_kept_and_an_evaluation_uses_it_on_any_number_of_ranks(
    fitted: tuple[Path, str], v2_files: Files, train_py: Run, tmp_path: Path
) -> None:
    folder, _ = fitted
    best = read(folder)["best"]
    assert read(folder / "model", "qa.json")["no_answer_threshold"] == best["kept_threshold"] == best["best_f1_thresh"]
    file = f"data.validation_file={v2_files[1]}"
    one = evaluated(train_py, tmp_path / "one", "stage=validate", file, f"model.pretrained={folder}/model")
    found = read(one)
    assert found["no_answer_threshold"] == best["best_f1_thresh"] != 0.0
    assert found["best"]["f1"] == pytest.approx(best["best_f1"])
    assert {name: found["best"][name] for name in ("exact_match", "f1", *V2_FIGURES)} == pytest.approx(
        restated(one, v2_files[1])
    )
    known = read(folder / "model", "qa.json")["temperature"]
    assert found["calibration"]["temperature"] == known == read(folder)["calibration"]["temperature"] != 1
    questions, answerer = read_questions(one), QuestionAnswerer.from_pretrained(f"{folder}/model")
    answers = answerer([question.question for question in questions], [question.context for question in questions])
    assert [a.text for a in answers] == [q.prediction for q in questions]
    assert [a.probability for a in answers] == pytest.approx([q.probability for q in questions], abs=1e-5)
    other = evaluated(
        train_py, tmp_path / "other", "stage=test", f"data.test_file={v2_files[1]}", "trainer.devices=2",
        f"resume={folder}/checkpoints/best.ckpt",
    )  # fmt: skip
    for name in WRITTEN:
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert all(read(other)["best"][name] == found["best"][name] for name in ("f1", *V2_FIGURES))


def test_questions_of_which_nobody_knows_get_no_answer_above_the_threshold(
    fitted: tuple[Path, str], train_py: Run, tmp_path: Path
) -> None:
    folder, _ = fitted
    rows = [
        {"id": question.id, "question": question.question, "context": question.context}
        for question in read_questions(folder)
    ]
    (tmp_path / "ask.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = evaluated(
        train_py, tmp_path / "run", "stage=predict", f"data.test_file={tmp_path}/ask.jsonl",
        f"model.pretrained={folder}/model",
    )  # fmt: skip
    threshold, odds = read(folder)["best"]["best_f1_thresh"], read(asked, "null_odds.json")
    assert odds == read(folder, "null_odds.json")
    given = {name for name, answer in read(asked, "predictions.json").items() if answer}
    assert given == {name for name, value in odds.items() if value <= threshold}
    assert 0 < len(given) < len(odds)
    assert {question.exact_match for question in read_questions(asked)} == {None}
    (folder / "model" / "qa.json").rename(tmp_path / "qa.json")
    try:
        asked = evaluated(
            train_py, tmp_path / "always", "stage=predict", f"data.test_file={tmp_path}/ask.jsonl",
            f"model.pretrained={folder}/model",
        )  # fmt: skip
    finally:
        (tmp_path / "qa.json").rename(folder / "model" / "qa.json")
    assert all(read(asked, "predictions.json").values())
    assert not (asked / "null_odds.json").exists()
    assert "no_answer_threshold" not in read(asked)


def test_a_threshold_that_is_no_number_is_one_line(
    fitted: tuple[Path, str], v2_files: Files, train_py: Run, tmp_path: Path
) -> None:
    folder, _ = fitted
    model = tmp_path / "model"
    model.mkdir()
    for path in (folder / "model").iterdir():
        (model / path.name).symlink_to(path)
    (model / "qa.json").unlink()
    (model / "qa.json").write_text('{"no_answer_threshold": "low"}')
    done = train_py(
        "stage=validate", "data=local", f"data.validation_file={v2_files[1]}", f"model.pretrained={model}",
        f"data.cache_dir={tmp_path}", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{model}/qa.json: Input should be a valid number" in done.stderr


def test_predictions_of_any_program_are_scored_and_a_missing_one_is_no_refusal(
    fitted: tuple[Path, str], v2_files: Files, train_py: Run, tmp_path: Path
) -> None:
    folder, _ = fitted
    command = ["stage=validate", "data=local", f"data.validation_file={v2_files[1]}"]
    best = read(folder)["best"]
    done = train_py(*command, f"hydra.run.dir={tmp_path}/all", f"data.predictions_file={folder}/predictions.json")
    assert (done.returncode, done.stderr) == (0, "")
    found = read(tmp_path / "all")["best"]
    measured = {"exact_match", "f1", *(name for name in V2_FIGURES if "Ans_" in name)}
    assert {name: found[name] for name in measured} == pytest.approx({name: best[name] for name in measured})
    assert not any(name.startswith("best_") for name in found)  # that takes null odds
    assert "HasAns EM" in done.stdout
    answers = {name: text for name, text in read(folder, "predictions.json").items() if not name.startswith("who")}
    (tmp_path / "some.json").write_text(json.dumps(answers))
    done = train_py(*command, f"hydra.run.dir={tmp_path}/some", f"data.predictions_file={tmp_path}/some.json")
    assert done.returncode == 0
    some = read(tmp_path / "some")["best"]
    assert (some["HasAns_exact"], some["NoAns_exact"]) == (best["HasAns_exact"], 0.0)
    assert read(tmp_path / "some")["skipped"] == {"validation": {"no prediction": 8}}


def test_a_split_without_such_questions_is_as_before(
    fitted: tuple[Path, str], v2_files: Files, train_py: Run, tmp_path: Path
) -> None:
    """The answerable questions alone, with a model that may refuse: all are answered, and no key is new."""
    folder, _ = fitted
    data = read(v2_files[1].parent, v2_files[1].name)
    for paragraph in data["data"][0]["paragraphs"]:
        paragraph["qas"] = [question for question in paragraph["qas"] if question["answers"]]
    (tmp_path / "v1.json").write_text(json.dumps(data))
    run = evaluated(
        train_py, tmp_path / "run", "stage=validate", f"data.validation_file={tmp_path}/v1.json",
        f"model.pretrained={folder}/model",
    )  # fmt: skip
    assert all(read(run, "predictions.json").values())
    assert not (run / "null_odds.json").exists()
    assert set(read(run)["best"]) == {"epoch", "step", "train_loss", "val_loss", "exact_match", "f1"}
    assert "no_answer_threshold" not in read(run)
    assert "HasAns" not in (run / "results.md").read_text()
    write_page(RunReport.read(RunFolder(run)))
    assert "HasAns" not in (run / "report.html").read_text()


def test_the_odds_of_the_best_epoch_go_with_it_into_another_folder(fitted: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = fitted
    CheckpointFiles(tmp_path).adopt_best(folder / "checkpoints" / "best.ckpt")
    for name in WRITTEN:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
