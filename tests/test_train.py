"""The command line, end to end, on a tiny BERT: every stage, the run folder, and what is said when it goes wrong."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from helpers.commands import Run, quick_fit
from helpers.paths import ROOT
from qa.data.reading.examples import read_examples
from qa.data.reading.overlap import context_hashes, trained_contexts
from qa.evaluation.question_table import read_questions
from qa.model.answering import Answering

Files = tuple[Path, Path]
FILES = {
    "results.json",
    "results.md",
    "predictions.json",
    "nbest.json",
    "questions.parquet",
    "report.html",
    "curves.png",
    "curves.svg",
    "model",
    "checkpoints",
    ".hydra",
    ".run.lock",
    "metrics.csv",
    "train.log",
}


@pytest.fixture(scope="module")
def fitted(
    train_py: Run, tiny: Path, small_files: Files, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str], str]:
    """The folder of a finished run of two epochs, its arguments, and what it printed."""
    folder = tmp_path_factory.mktemp("fitted")
    arguments = [*quick_fit(small_files, tiny, folder / "cache"), "trainer.max_epochs=2", f"hydra.run.dir={folder}/run"]
    done = train_py(*arguments, fresh=True)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "run", arguments, done.stdout


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def test_the_run_folder_is_whole(fitted: tuple[Path, list[str], str], small_files: Files) -> None:
    folder, _, _ = fitted
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "step-5.ckpt"}
    found = results(folder)
    assert set(found["epochs"][0]) == {"epoch", "step", "train_loss", "val_loss", "exact_match", "f1"}
    assert found["examples"] == {"train": 40, "validation": 10}
    steps = -(-found["windows"]["train"] // 16)
    assert [(row["epoch"], row["step"]) for row in found["epochs"]] == [(1, steps), (2, 2 * steps)]
    assert found["best"] == min(found["epochs"], key=lambda row: row["val_loss"])
    assert found["devices"] == 1
    assert found["windows_per_second"]["train"] > 0
    predictions = json.loads((folder / "predictions.json").read_text())
    nbest = json.loads((folder / "nbest.json").read_text())
    contexts = {
        question["id"]: paragraph["context"]
        for paragraph in json.loads(small_files[1].read_text())["data"][0]["paragraphs"]
        for question in paragraph["qas"]
    }
    assert predictions.keys() == nbest.keys() == contexts.keys()
    for name, best in nbest.items():
        assert predictions[name] == best[0]["text"]
        assert all(answer["text"] == contexts[name][answer["start"] : answer["end"]] for answer in best)
        assert sum(answer["probability"] for answer in best) == pytest.approx(1)
        assert len(best) == 20
    questions = read_questions(folder)
    assert {question.id: question.prediction for question in questions} == predictions
    for name in ("exact_match", "f1"):
        mean = sum(getattr(question, name) for question in questions) / len(questions)
        assert 100 * mean == pytest.approx(found["best"][name])


def test_the_saved_model_is_the_best_checkpoints(fitted: tuple[Path, list[str], str], small_files: Files) -> None:
    folder, _, _ = fitted
    model = AutoModelForQuestionAnswering.from_pretrained(folder / "model")
    weights = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(weights[f"model.{name}"], value) for name, value in model.state_dict().items())
    assert len(AutoTokenizer.from_pretrained(folder / "model")) == 30522
    known = trained_contexts(str(folder / "model"))
    assert {*known} == {*context_hashes(read_examples(str(small_files[0])).examples)}
    card = (folder / "model" / "README.md").read_text()
    table, _, chosen = (folder / "results.md").read_text().partition("\n\n")
    assert table in card
    assert chosen.startswith("These questions were also used to choose the best epoch")
    assert f"model.pretrained={folder}/model\n" in chosen
    assert "trainer.max_epochs=2" in card


def test_the_first_screen_and_the_table_are_printed(fitted: tuple[Path, list[str], str], tiny: Path) -> None:
    folder, _, printed = fitted
    for words in (
        f"model       {tiny.name}, ",
        "parameters",
        "40 questions",
        "10 questions",
        "steps",
        "cpu, precision 32-true",
        str(folder),
    ):
        assert words in printed
    assert printed.count("validation loss") == 3 and printed.count("Validation Loss") == 1
    assert "← best by validation loss" in printed
    assert "10 questions\n" in printed and "10 evaluated questions: very few" in printed
    assert f"open {folder}/report.html\n{folder}/model: the model and its card\n" in printed
    assert f"{folder}/results.json: all figures\nask it: " in printed
    assert "questions.parquet" not in printed
    log = (folder / "train.log").read_text()
    for line in filter(None, map(str.rstrip, printed.splitlines())):
        assert re.search(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}} INFO {re.escape(line)}$", log, re.MULTILINE)
    assert "\x1b" not in printed  # no colours, no live line in a log file
    assert "Warning" not in printed


def test_metrics_are_logged_each_step_and_each_epoch(fitted: tuple[Path, list[str], str]) -> None:
    folder, _, _ = fitted
    header, *lines = (folder / "metrics.csv").read_text().splitlines()
    rows = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines]
    steps = [row for row in rows if row["loss"]]
    assert [int(row["step"]) for row in steps] == list(range(1, results(folder)["epochs"][-1]["step"] + 1))
    step = ("learning_rate", "gradient_norm", "windows_per_second", "tokens_per_second", "memory_gib")
    assert all(row[name] for row in steps for name in step)
    rates = [float(row["learning_rate"]) for row in steps]
    assert rates == pytest.approx([1e-3 * (1 - n / len(rates)) for n in range(len(rates))], rel=1e-5)
    for name in ("train_loss", "val_loss", "exact_match", "f1"):
        values = [float(row[name]) for row in rows if row[name]]
        assert values == pytest.approx([row[name] for row in results(folder)["epochs"]], rel=1e-5)


def test_a_run_ends_the_same_where_its_libraries_were_imported_before(
    fitted: tuple[Path, list[str], str], train_py: Run, tmp_path: Path
) -> None:
    """As most tests start it, but not `fitted`."""
    folder, arguments, _ = fitted
    done = train_py(*arguments[:-1], f"hydra.run.dir={tmp_path}/run")
    assert (done.returncode, done.stderr) == (0, "")
    one, other = ({**results(run), "seconds": 0, "windows_per_second": {}} for run in (folder, tmp_path / "run"))
    assert {**one, "about": {}} == {**other, "about": {}}
    for name in ("predictions.json", "nbest.json", "questions.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes()
    weights, weights2 = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (folder, tmp_path / "run")
    )
    assert all(torch.equal(weight, weights2[name]) for name, weight in weights.items())


def test_a_finished_run_shows_its_table_and_another_configuration_is_refused(
    fitted: tuple[Path, list[str], str], train_py: Run
) -> None:
    folder, arguments, _ = fitted
    before = (folder / "results.json").stat().st_mtime_ns
    page = (folder / "report.html").read_text()
    (folder / "report.html").unlink()  # as after a page that could not be written
    again = train_py(*arguments)
    assert again.returncode == 0
    assert "is finished" in again.stdout
    assert (folder / "report.html").read_text() == page
    assert "Validation Loss" in again.stdout
    other = train_py(*arguments, "seed=7")
    assert other.returncode == 2
    assert "holds a finished run of other settings or data: seed (42 there, 7 here); give" in other.stderr
    longer = train_py(*arguments, "trainer.max_epochs=5")
    assert longer.returncode == 2
    assert f"to train it further give resume={folder}/checkpoints/last.ckpt and another hydra.run" in longer.stderr
    assert (folder / "results.json").stat().st_mtime_ns == before
    assert "seed: 42" in (folder / ".hydra" / "config.yaml").read_text()


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_an_evaluation_gives_the_fits_figures_to_the_bit(
    stage: str, fitted: tuple[Path, list[str], str], train_py: Run, small_files: Files, tmp_path: Path
) -> None:
    folder, _, _ = fitted
    source = {"validate": f"model.pretrained={folder}", "test": f"resume={folder}/checkpoints/best.ckpt"}[stage]
    key = {"validate": "data.validation_file", "test": "data.test_file"}[stage]
    command = (
        f"stage={stage}", "data=local", f"{key}={small_files[1]}", f"data.cache_dir={tmp_path}/cache", source,
        "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    done = train_py(*command, fresh=True)
    assert (done.returncode, done.stderr) == (0, "")
    best, found = results(folder)["best"], results(tmp_path / "run")["best"]
    assert {**found, "train_loss": best["train_loss"]} == best
    made = results(tmp_path / "run")["identity"]
    known = json.loads((folder / "model" / "qa.json").read_text())
    assert made["trained"] == known["trained"]
    assert made["trained"].items() > results(folder)["identity"].items()
    assert Answering.load(str(folder / "model")).trained_on == [(40, small_files[0].name, known["trained"]["date"])]
    assert (made["settings"]["data.max_length"], made["settings"]["data.stride"]) == (64, 16)  # as in training
    assert "the model's own" not in done.stdout
    said = "These questions were also used to choose the best epoch and temperature, so its figures"
    assert said in " ".join(done.stdout.split()) and said in (tmp_path / "run" / "results.md").read_text()
    again = train_py(*command)
    assert (again.returncode, "is finished" in again.stdout) == (0, True)
    for name in ("predictions.json", "nbest.json", "questions.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes()


def test_an_evaluation_reports_lengths_that_are_not_the_models_and_questions_that_it_was_trained_on(
    fitted: tuple[Path, list[str], str], train_py: Run, small_files: Files, tmp_path: Path
) -> None:
    folder, _, _ = fitted
    done = train_py(
        "stage=test", "data=local", f"data.test_file={small_files[0]}", f"data.cache_dir={tmp_path}/cache",
        f"resume={folder}/checkpoints/best.ckpt", "data.max_length=48", "trainer.accelerator=cpu",
        f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    said = "The model was trained on these questions, or some of them: the figures may show memory."
    assert (done.returncode, done.stderr) == (0, f"WARNING: test: {said}\n")
    assert "data.max_length=48 (the model's own: 64)\n" in done.stdout
    assert said in done.stdout and "also used to choose" not in done.stdout
    assert all(said in (tmp_path / "run" / name).read_text() for name in ("results.md", "report.html"))


def test_predictions_for_questions_without_answers(
    fitted: tuple[Path, list[str], str], train_py: Run, tmp_path: Path
) -> None:
    folder, _, _ = fitted
    rows = [{"id": f"q{n}", "question": "Who?", "context": f"Ada Brill built bridge {n}."} for n in range(3)]
    (tmp_path / "ask.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = train_py(
        "stage=predict", "data=local", f"data.test_file={tmp_path}/ask.jsonl", f"model.pretrained={folder}/model",
        f"data.cache_dir={tmp_path}/cache", "trainer.accelerator=cpu", f"hydra.run.dir={tmp_path}/run", fresh=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert set(json.loads((tmp_path / "run" / "predictions.json").read_text())) == {"q0", "q1", "q2"}
    assert results(tmp_path / "run")["best"] is None


def test_bad_records_are_counted_in_the_results(train_py: Run, tiny: Path, small_files: Files, tmp_path: Path) -> None:
    data = json.loads(small_files[0].read_text())
    questions = [question for paragraph in data["data"][0]["paragraphs"] for question in paragraph["qas"]]
    questions[0]["answers"][0]["answer_start"] += 1
    questions[1]["question"] = "why " * 70
    (tmp_path / "bad.json").write_text(json.dumps(data))
    arguments = quick_fit((tmp_path / "bad.json", small_files[1]), tiny, tmp_path / "cache")
    refused = train_py(*arguments, f"hydra.run.dir={tmp_path}/run")
    assert refused.returncode == 2
    assert "misplaced" not in refused.stderr
    assert f"{tmp_path}/bad.json: article 0, paragraph 0, question 0 (id 'when-0')" in refused.stderr
    assert not (tmp_path / "run" / "results.json").exists()
    arguments += ["data.on_bad_record=skip", "trainer.max_steps=1", "data.limit=20", "decode.n_best=2", "logger=none"]
    done = train_py(*arguments, f"hydra.run.dir={tmp_path}/other")
    assert done.returncode == 0
    assert "records skipped: 1 misplaced answer" in done.stderr
    assert "19 questions (data.limit=20), " in done.stdout
    found = results(tmp_path / "other")
    assert found["skipped"] == {"train": {"misplaced answer": 1, "question too long": 1}, "validation": {}}
    listed = [json.loads(line) for line in (tmp_path / "other" / "skipped.jsonl").read_text().splitlines()]
    assert [(row["split"], row["kind"]) for row in listed] == [
        ("train", "misplaced answer"), ("train", "question too long"),
    ]  # fmt: skip
    assert found["examples"]["train"] == 19
    assert found["epochs"][-1]["step"] == 1


def test_figures_by_language_choose_the_best_epoch_and_name_the_gap(
    train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    """The German file has the English questions with other contexts, so that its figures are others."""
    text = small_files[1].read_text()
    files = {
        "train.en.json": small_files[0].read_text(),
        "dev.en.json": text,
        "dev.de.json": text.replace(" was ", " ward "),
    }
    for name, content in files.items():
        moved = json.loads(content)
        for paragraph in moved["data"][0]["paragraphs"]:
            for question in paragraph["qas"]:
                for answer in question["answers"]:
                    answer["answer_start"] = paragraph["context"].index(answer["text"])
        (tmp_path / name).write_text(json.dumps(moved))
    arguments = quick_fit(small_files, tiny, tmp_path / "cache", f"data.train_file={tmp_path}/train.en.json")
    arguments += [f"data.validation_file={tmp_path}/dev.*.json", "trainer.max_epochs=2"]
    refused = train_py(*arguments, "checkpoint.monitor=f1_fr", f"hydra.run.dir={tmp_path}/run")
    assert refused.returncode == 2
    assert "checkpoint.monitor=f1_fr: the validation questions are in de, en; choose one" in refused.stderr
    done = train_py(*arguments, "checkpoint.monitor=f1_de", f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "run")
    assert found["best"]["f1_de"] == max(row["f1_de"] for row in found["epochs"])
    assert [*found["by_language"]] == ["de", "en"] and found["language_gap"]["trained"] == "en"
    assert found["by_language"]["de"]["f1"] == pytest.approx(found["best"]["f1_de"])
    assert found["best"]["f1_mean"] == pytest.approx(found["language_mean"]["f1"])
    assert "f1_de" in (tmp_path / "run" / "metrics.csv").read_text().partition("\n")[0]
    words = [" | 20 |\n\nEM and F1 are SQuAD's", "Gap to en, the language of the training data: F1"]
    assert all(said in (tmp_path / "run" / "results.md").read_text() for said in words)
    assert "the best by F1 of de" in (tmp_path / "run" / "model" / "README.md").read_text()
    assert "| mean | " in (tmp_path / "run" / "model" / "README.md").read_text()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<td>mean</td>" in page and "<th>language</th>" not in page
    done = train_py(
        "stage=validate", "data=local", f"data.validation_file={tmp_path}/dev.*.json", "trainer.accelerator=cpu",
        f"model.pretrained={tmp_path}/run/model", f"data.cache_dir={tmp_path}/cache", f"hydra.run.dir={tmp_path}/again",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "MLQA EM" in done.stdout and "Gap to en, the language of the training data" in done.stdout
    again = results(tmp_path / "again")
    assert all(again[key] == found[key] for key in ("by_language", "language_mean", "language_gap"))


@pytest.mark.parametrize(
    ("interval", "evaluated"),
    [
        (["trainer.check_val_every_n_epoch=3"], {1: False, 2: False, 3: True, 4: True}),
        (["trainer.check_val_every_n_epoch=9"], {1: False, 2: False, 3: False, 4: True}),
        (["trainer.val_check_interval=3"], {1: False, 1.5: True, 2: False, 3: True, 4: True}),
        (["trainer.val_check_interval=1000", "trainer.max_steps=7"], {1: False, 2: False, 3: False, 3.5: True}),
    ],
)
def test_the_last_step_is_evaluated_whatever_the_interval(
    interval: list[str], evaluated: dict[float, bool], train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    """4 epochs of 2 steps. An epoch without an evaluation has no figures of an older one."""
    done = train_py(
        *quick_fit(small_files, tiny, tmp_path / "cache"), "trainer.max_epochs=4", "data.limit=10", *interval,
        f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    found = results(tmp_path / "run")
    assert {row["epoch"]: row["val_loss"] is not None for row in found["epochs"]} == evaluated
    assert found["best"] in found["epochs"]
    assert ("an evaluation every" in done.stdout) == interval[0].startswith("trainer.val_check")


def test_adamw_with_warm_up_in_half_precision(train_py: Run, tiny: Path, small_files: Files, tmp_path: Path) -> None:
    done = train_py(
        *quick_fit(small_files, tiny, tmp_path / "cache"), "optimizer=adamw", "scheduler=cosine",
        "scheduler.warmup_ratio=0.5", "data.limit=10", "trainer.max_epochs=1", "data.batching=random",
        "trainer.precision=bf16-mixed", "trainer.profiler=simple", f"hydra.run.dir={tmp_path}/run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "bf16-mixed" in done.stdout
    assert "optimizer_step" in (tmp_path / "run" / "profile" / "fit-profile.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimiser=adam"], "optimiser"),
        (["optimizer.rl=1"], "optimizer.rl: no such setting; did you mean optimizer.lr?"),
        (["stage=fti"], "stage=fti: should be 'fit', 'validate', 'test' or 'predict'"),
        (["data.max_length=600"], "data.max_length=600: the model has 512 positions"),
        (["optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
        (["resume=a=b.ckpt"], "resume=\"a=b.ckpt\""),
        (["hydra.run.dir="], "hydra.run.dir=: empty, which would be this folder"),
        (["resume=none.ckpt"], "resume=none.ckpt: no such checkpoint"),
        (["data.train_file=none.json"], "none.json: no such file"),
        (["data.train_file=null"], "data.train_file: not given"),
        (["data.validation_file=null"], "or data.validation_share=0.1 to take a tenth of data.train_file"),
        (["--learning_rate", "3e-4"], "--learning_rate: a flag of run_qa.py; `python -m qa.from_run_qa --lear"),
        (["trainer.accelerator=gpux"], "trainer"),
        (["trainer.precision=16-mixed"], "trainer.precision=16-mixed: GPUs alone compute in it"),
        (["data.train_file=3"], "data.train_file=3: should be text or a valid list"),
        (["optimizer._target_=torch.optim.No"], "optimizer._target_=torch.optim.No: not found (Error loading"),
        (["logger._target_=pathlib.Path"], "logger: is no logger of Lightning"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], message: str, train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    done = train_py(*quick_fit(small_files, tiny, tmp_path / "cache"), f"hydra.run.dir={tmp_path}/run", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "\n" not in done.stderr.strip()
    assert not (tmp_path / "run").exists()  # nothing is left of a run that did not begin


@pytest.mark.slow
def test_ctrl_c_is_one_line_and_leaves_nothing_that_looks_finished(
    tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    endless = ["trainer.max_epochs=500", f"hydra.run.dir={tmp_path}/run"]
    command = [sys.executable, "train.py", *quick_fit(small_files, tiny, tmp_path / "cache"), *endless]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "validation loss" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("interrupted; resume where it ended by: python ")
    assert said.count("\n") == 1
    assert not (tmp_path / "run" / "results.json").exists()


def test_help_names_the_stages_and_groups(train_py: Run) -> None:
    done = train_py("--help")
    assert done.returncode == 0
    groups = "optimizer: adam, adamw\n", "trainer: default, sharded\n"
    for words in (*groups, "stage=fit|validate|test|predict", "data.train_file", "docs/settings.md"):
        assert words in done.stdout
    settings = (ROOT / "docs" / "settings.md").read_text()
    rows = {name: line.split("|", 3)[3] for line in settings.splitlines() for name in re.findall(r"^\| `(.*?)`", line)}
    for name, choices in re.findall(r"((?:data|model|optimizer|trainer|checkpoint)\.\w+)(?:=(\S+\|\S+))?", done.stdout):
        assert name in rows
        assert not choices or len(choices.split("|")) == len(rows[name].split("\\| ")), name


@pytest.mark.slow
def test_a_terminal_gets_a_live_line(tiny: Path, small_files: Files, tmp_path: Path) -> None:
    reader, writer = pty.openpty()
    command = [sys.executable, "train.py", *quick_fit(small_files, tiny, tmp_path / "cache"), "trainer.max_epochs=1"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    arguments = [*command, f"hydra.run.dir={tmp_path}/run"]
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=writer, stderr=writer) as process:
        os.close(writer)
        shown = b""
        while True:
            try:
                shown += os.read(reader, 65536)
            except OSError:
                break
    assert process.returncode == 0
    assert b"epoch 1/1" in shown
    assert b"windows/s" in shown


@pytest.mark.parametrize(
    ("short", "last"), [("trainer.fast_dev_run=2", {"step": 2, "epoch": 0.4}), ("trainer.max_time=00:00:00:03", {})]
)
def test_a_run_cut_short_is_whole(
    short: str, last: dict[str, float], tiny: Path, small_files: Files, train_py: Run, tmp_path: Path
) -> None:
    arguments = [*quick_fit(small_files, tiny, tmp_path / "cache"), "trainer.max_epochs=2000", short]
    done = train_py(*arguments, f"hydra.run.dir={tmp_path}/run")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    found = results(tmp_path / "run")
    assert last.items() <= found["epochs"][-1].items()
    assert found["best"]["val_loss"] > 0


def test_predictions_of_any_program_are_scored_without_a_model(
    fitted: tuple[Path, list[str], str], small_files: Files, train_py: Run, tmp_path: Path
) -> None:
    folder, _, _ = fitted
    command = [
        "stage=validate",
        "data=local",
        f"data.validation_file={small_files[1]}",
        f"hydra.run.dir={tmp_path}/run",
    ]
    done = train_py(*command, f"data.predictions_file={folder}/predictions.json", fresh=True)
    assert (done.returncode, done.stderr) == (0, "")
    best, found = results(folder)["best"], results(tmp_path / "run")["best"]
    assert all(found[name] == pytest.approx(best[name]) for name in ("exact_match", "f1"))
    predictions = json.loads((folder / "predictions.json").read_text())
    removed, text = predictions.popitem()
    file = tmp_path / "some.json"
    file.write_text(json.dumps(predictions))
    done = train_py(*command, f"data.predictions_file={file}", "resume=never")
    assert (done.returncode, done.stderr) == (
        0, f"WARNING: {file}: 1 × no prediction: scores 0\n",
    )  # fmt: skip
    assert results(tmp_path / "run")["skipped"] == {"validation": {"no prediction": 1}}
    for content, complaint in (
        (json.dumps({"nobody": "x"}), "0 of its 1 ids are in .*, not 'nobody' for example; give the file that was"),
        (json.dumps({removed: [text]}), f"{removed}: Input should be a valid string"),
        ("{", "the file: Invalid JSON"),
    ):
        file.write_text(content)
        done = train_py(*command, f"data.predictions_file={file}", "resume=never")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert re.search(complaint, done.stderr)
        assert results(tmp_path / "run")["skipped"]  # those of the last good file


def test_a_part_of_an_evaluation_is_whole_questions_and_named_wherever_its_figures_are(
    train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    files = small_files[0], small_files[0]  # 40 questions of several windows each
    command = [*quick_fit(files, tiny, tmp_path / "cache"), "stage=validate", "data.eval_batch_size=8"]
    assert train_py(*command, f"hydra.run.dir={tmp_path}/whole").returncode == 0
    part = train_py(*command, f"hydra.run.dir={tmp_path}/part", "trainer.limit_val_batches=3", "trainer.devices=2")
    assert part.returncode == 0, part.stderr
    found, whole = results(tmp_path / "part"), results(tmp_path / "whole")
    assert whole["evaluated"] == {"questions": 40, "of": 40}
    evaluated = found["evaluated"]
    assert evaluated["of"] == found["examples"]["validation"] == 40
    assert 24 - 8 < evaluated["questions"] * found["windows"]["validation"] / 40 <= 24
    words = f"Evaluated on {evaluated['questions']} of 40 questions, drawn at random."
    assert words in part.stdout
    for name in ("results.md", "report.html"):
        assert words in (tmp_path / "part" / name).read_text()
        assert "questions, drawn at random" not in (tmp_path / "whole" / name).read_text()
    one, other = (read_questions(tmp_path / name) for name in ("part", "whole"))
    assert len(one) == evaluated["questions"]
    of_all = {question.id: question for question in other}
    for question in one:  # from all of its windows
        assert question.prediction == of_all[question.id].prediction
        assert question.loss == pytest.approx(of_all[question.id].loss, abs=1e-5)
    assert train_py(*command, f"hydra.run.dir={tmp_path}/part", "trainer.limit_val_batches=3").returncode == 0
