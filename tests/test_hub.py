"""With a hub on loopback, without one, and with one that fails: `python train.py` is what most people type first."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pyarrow.parquet
import pytest

from helpers.commands import Run, quick_fit
from helpers.hub_server import COMMIT, Hub, hub
from helpers.paths import ROOT
from helpers.service import served
from qa import QuestionAnswerer
from qa.data.reading.examples import read_examples
from qa.data.reading.files import find_files
from qa.errors import UserError
from qa.hub import check_pretrained, check_push, go_offline_if_unreachable
from qa.runs.identity import model_contents
from qa.runs.results import V2_FIGURES

NO_HUB = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "", "HF_HOME": "/nonexistent/hub"}


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ([], "; data=local data.train_file=… data.validation_file=… model=minilm needs no hub, nor does `make demo`;"),
        (["data=local", "data.train_file={0}", "data.validation_file={1}"], "not have it; model=minilm needs no hub;"),
    ],
)
def test_no_hub_and_no_cache_is_one_line(
    words: list[str], remedy: str, train_py: Run, small_files: tuple[Path, Path], tmp_path: object
) -> None:
    done = train_py(*(word.format(*small_files) for word in words), f"hydra.run.dir={tmp_path}/run", **NO_HUB)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "model google-bert/bert-base-multilingual-cased: the hub is not reached" in done.stderr
    assert remedy in done.stderr


def test_an_evaluation_without_its_model_is_one_line(train_py: Run, tmp_path: object) -> None:
    done = train_py("stage=predict", f"hydra.run.dir={tmp_path}/run", **NO_HUB)
    assert (done.returncode, done.stderr) == (2, "ERROR: stage=predict: give the model, model.pretrained=RUN/model\n")


def test_own_model_but_data_of_the_hub(train_py: Run, tiny: object, tmp_path: object) -> None:
    done = train_py(f"model.pretrained={tiny}", f"hydra.run.dir={tmp_path}/run", **NO_HUB)
    assert done.returncode == 2
    assert "rajpurkar/squad" in done.stderr
    assert "data=local" in done.stderr
    assert "\n" not in done.stderr.strip()


def test_the_variable_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not go_offline_if_unreachable()


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory, tiny: Path, small_files: tuple[Path, Path], v2_files: tuple[Path, Path]
) -> Path:
    """The recipe's model and data, and SQuAD v2, as the hub has them, but tiny."""
    root = tmp_path_factory.mktemp("hub")
    shutil.copytree(tiny, root / "models" / "google-bert" / "bert-base-multilingual-cased")
    write_data_set(root / "datasets" / "rajpurkar" / "squad", "plain_text", small_files)
    write_data_set(root / "datasets" / "rajpurkar" / "squad_v2", "squad_v2", v2_files)
    for language in ("de", "en"):
        write_data_set(root / "datasets" / "google" / "xquad", f"xquad.{language}", small_files)
        (root / "datasets" / "google" / "xquad" / f"xquad.{language}" / "validation-old").mkdir()
        (root / "datasets" / "google" / "xquad" / f"xquad.{language}" / "validation-old" / "a.parquet").touch()
    write_data_set(root / "datasets" / "ada" / "tested", "plain_text", (*small_files, small_files[0]))
    write_data_set(root / "datasets" / "ada" / "hidden", "plain_text", (*small_files, small_files[0]), hidden=True)
    return root


def write_data_set(folder: Path, name: str, files: tuple[Path, ...], hidden: bool = False) -> None:
    """A data set of one configuration, whose third file is a test split, its answers perhaps `hidden`.

    A question without an answer is one whose lists are empty.
    """
    (folder / name).mkdir(parents=True)
    splits = ("train", "validation", "test")[: len(files)]
    for split, file in zip(splits, files, strict=True):
        examples = read_examples(str(file)).examples
        rows = [
            {
                "id": example.id, "title": "t", "question": example.question, "context": example.context,
                "answers": {
                    "text": [answer.text for answer in answers],
                    "answer_start": [answer.answer_start for answer in answers],
                },
            }
            for example in examples
            for answers in [() if hidden and split == "test" else example.answers]
        ]  # fmt: skip
        path = folder / name / f"{split}-00000-of-00001.parquet"
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    paths = "".join(f"  - split: {split}\n    path: {name}/{split}-*\n" for split in splits)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {name}\n  data_files:\n{paths}---\n")


def home(server: Hub, folder: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "", "HF_HOME": str(folder)}


def test_the_command_without_an_argument_downloads_trains_and_starts_again_offline(
    root: Path, train_py: Run, tmp_path: Path
) -> None:
    # the window and the folders apart: the tiny model would take long for 384 tokens, and nothing may land elsewhere
    command = ["data.max_length=64", "data.stride=16", f"data.cache_dir={tmp_path}/cache"]
    with hub(root) as server:
        there = home(server, tmp_path / "home")
        done = train_py(*command, f"hydra.run.dir={tmp_path}/one", **there)
        assert (done.returncode, done.stderr) == (0, "")
    assert "rajpurkar/squad from the hub: 40 questions, 80 windows" in done.stdout
    assert "published" not in done.stdout  # other windows than that run's
    done = train_py(*command, f"hydra.run.dir={tmp_path}/two", **there)
    assert (done.returncode, done.stderr) == (0, "")
    one, two = ((tmp_path / name / "predictions.json").read_bytes() for name in ("one", "two"))
    assert one == two
    made = json.loads((tmp_path / "two" / "results.json").read_text())["identity"]["inputs"]
    squad = [f"rajpurkar/squad@{COMMIT}"]
    mbert = "google-bert/bert-base-multilingual-cased"
    assert made == {"train": squad, "validation": squad, "model": [f"{mbert}@{COMMIT}"]}
    shown = train_py(*command, f"model.pretrained={mbert}@{COMMIT}", f"hydra.run.dir={tmp_path}/two", **there)
    assert (shown.returncode, "is finished" in shown.stdout) == (0, True)
    other = train_py(*command, f"model.pretrained={mbert}@{'f' * 40}", f"hydra.run.dir={tmp_path}/two", **there)
    assert other.returncode == 2
    assert f"the content of model ({mbert}@{COMMIT} there, {mbert}@{'f' * 40} here; " in other.stderr


def test_squad_v2_has_questions_without_an_answer(root: Path, train_py: Run, tmp_path: Path) -> None:
    with hub(root) as server:
        done = train_py(
            "data=squad_v2", "data.max_length=64", "data.stride=16", "trainer.max_steps=1",
            f"data.cache_dir={tmp_path}/cache", f"hydra.run.dir={tmp_path}/run", **home(server, tmp_path / "home"),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "rajpurkar/squad_v2 from the hub: 24 questions, 8 of them without an answer, 48 windows" in done.stdout
    assert json.loads((tmp_path / "run" / "results.json").read_text())["best"].keys() >= set(V2_FIGURES)


def test_files_of_the_hub_are_read_as_files_here(root: Path, train_py: Run, tmp_path: Path) -> None:
    command = ["data=xquad", "data.max_length=64", "data.stride=16", f"data.cache_dir={tmp_path}/cache"]
    with hub(root) as server:
        there = home(server, tmp_path / "home")
        command += ["trainer.max_steps=1", "checkpoint.monitor=f1_mean", f"hydra.run.dir={tmp_path}/run"]
        done = train_py(*command, **there)
        assert (done.returncode, done.stderr) == (0, "")
        wrong = "hf://datasets/google/xquad/xquad.fr/*.parquet"
        done = train_py(*command, f"data.validation_file={wrong}", "resume=never", **there)
    assert (done.returncode, done.stderr) == (
        2,
        f"ERROR: {wrong}: no such file in that data set; its page on the hub lists them\n",
    )
    for address in ("hf://datasets/google/xquad/../../x.json", "hf://datasets/google/xquad/**/*.json", "hf://xquad"):
        with pytest.raises(UserError, match="should be hf://datasets/USER/NAME/PATH"):
            find_files(address)
    assert not [*Path(there["HF_HOME"]).rglob("validation-old")]
    assert "hf://datasets/google/xquad/xquad." in (tmp_path / "run" / "model" / "README.md").read_text()
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["by_language"].keys() == {"de", "en"}
    read = f"hf://datasets/google/xquad@{COMMIT}/xquad.*/validation-*.parquet"
    assert results["about"]["validation"] == read and f"<dd>{read}</dd>" in (tmp_path / "run/report.html").read_text()
    assert train_py(*command, HF_HUB_OFFLINE="1", HF_HOME=there["HF_HOME"]).stdout.count("is finished") == 1


def test_a_test_takes_the_test_split_and_nothing_else(root: Path, train_py: Run, tiny: Path, tmp_path: Path) -> None:
    command = [f"model.pretrained={tiny}", "data.max_length=64", "data.stride=16", f"data.cache_dir={tmp_path}/cache"]
    with hub(root) as server:
        there = home(server, tmp_path / "home")
        for stage, name, complaint in (
            ("test", "rajpurkar/squad", "rajpurkar/squad: has no test split; give data.test_file=FILE, or take stage="),
            ("test", "ada/hidden", "ada/hidden: has no test split with answers; give data.test_file=FILE, or take"),
        ):
            done = train_py(f"stage={stage}", f"data.name={name}", *command, f"hydra.run.dir={tmp_path}/no", **there)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert complaint in done.stderr
        for stage, name in (("test", "ada/tested"), ("predict", "ada/hidden")):
            folder = tmp_path / stage
            done = train_py(f"stage={stage}", f"data.name={name}", *command, f"hydra.run.dir={folder}", **there)
            assert done.returncode == 0, done.stderr
            assert f"{name} from the hub: 40 questions" in done.stdout


def prefetch(**env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "qa.prefetch"], cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    "faults",
    [
        {
            "401": "not there, private or gated (401); if it is there, log in by `hf auth login`",
            "404": "there is no such name on the hub (404)",
            "429": "the hub limits requests (429); try again later",
        },
        {"cut": "peer closed connection"},
        {"checksum": "a download was damaged, and is removed; start again"},
    ],
    ids=" ".join,
)
def test_a_hub_that_fails_is_one_line_and_the_next_try_is_clean(
    faults: dict[str, str], root: Path, tmp_path: Path
) -> None:
    with hub(root) as server:
        for server.fault, complaint in faults.items():
            done = prefetch(**home(server, tmp_path), HF_TOKEN="hf_secret")
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert done.stderr.startswith("ERROR: model google-bert/bert-base-multilingual-cased: ")
            assert complaint in done.stderr
            assert "hf_secret" not in done.stdout + done.stderr
        server.fault = ""
        done = prefetch(**home(server, tmp_path))
        assert (done.returncode, done.stderr) == (0, "")
        assert "rajpurkar/squad, validation: 10 questions are in the cache" in done.stdout


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_folder_that_is_not_there_is_no_hub_id(name: str) -> None:
    with pytest.raises(UserError, match="no such folder"):
        check_pretrained(name)


def test_a_run_stands_for_its_model_and_one_without_a_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=r"run: no config\.json in that folder, or in its model/, which a run has when"):
        check_pretrained(str(tmp_path / "run"))
    (tmp_path / "run" / "model").symlink_to(tiny)
    assert (
        check_pretrained(str(tmp_path / "run")) == check_pretrained(f"{tmp_path}/run/model") == f"{tmp_path}/run/model"
    )
    assert model_contents(str(tmp_path / "run")) == model_contents(str(tiny))
    answer = QuestionAnswerer.from_pretrained(str(tmp_path / "run"))("Who?", "Ada Brill.")
    assert answer.text in "Ada Brill."


def test_a_name_that_no_hub_takes_is_refused_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="push_to_hub=bridges: should be USER/NAME"):
        check_push("bridges")


def test_the_finished_model_is_pushed_and_loads_from_there(
    root: Path, tiny: Path, small_files: tuple[Path, Path], train_py: Run, tmp_path: Path
) -> None:
    command = [*quick_fit(small_files, tiny, tmp_path / "cache"), "trainer.max_epochs=1", "push_to_hub=ada/bridges"]
    with hub(root) as server:
        there = home(server, tmp_path / "home")
        done = train_py(*command, f"hydra.run.dir={tmp_path}/run", **there)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "push_to_hub=ada/bridges: " in done.stderr and "hf auth login" in done.stderr
        assert "steps" not in done.stdout  # said before anything is trained
        done = train_py(*command, f"hydra.run.dir={tmp_path}/run", **there, HF_TOKEN="hf_secret")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"the model is at {server.url}/ada/bridges" in " ".join(done.stdout.split())
        assert "hf_secret" not in done.stdout + (tmp_path / "run" / "train.log").read_text()
        for file in (tmp_path / "run" / "model").iterdir():
            assert (root / "models" / "ada" / "bridges" / file.name).read_bytes() == file.read_bytes()
        assert "private until you make it public" in " ".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(("private", "said"), [(True, ""), (False, "ada/arches: this repository is public")])
def test_who_will_see_a_pushed_model_is_what_its_repository_says(
    private: bool, said: str, root: Path, tmp_path: Path
) -> None:
    (root / "models" / "ada" / "arches").mkdir(parents=True, exist_ok=True)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    code = f"""
from qa.hub import check_push, push
check_push("ada/arches")
print(push({str(tmp_path / "model")!r}, "ada/arches")[1])
"""
    with hub(root) as server:
        server.private |= {"ada/arches"} if private else set()
        env = {**os.environ, **home(server, tmp_path / "home"), "HF_TOKEN": "hf_secret"}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(private) in done.stdout
    assert said in done.stderr and bool(said) == ("public" in done.stderr)


@pytest.mark.slow
def test_a_reader_of_the_hub_is_served_by_its_name_and_again_offline(root: Path, tiny: Path, tmp_path: Path) -> None:
    name = "google-bert/bert-base-multilingual-cased"
    asked = {"question": "Who built it?", "context": "The bridge of Tollen was built in 1822 by Ada Brill."}
    found = []
    with hub(root) as server:
        there = home(server, tmp_path / "home")
        for offline in ("", "1"):
            with served(name, tmp_path, env={**there, "HF_HUB_OFFLINE": offline}) as service:
                model = httpx.get(service.url + "/model").json()
                assert (model["model"], model["content"]) == (name, model_contents(str(tiny))[-1])
                found.append(httpx.post(service.url + "/answer", json=asked).json()["answers"][0])
    assert found[0] == found[1] and found[0]["text"] in asked["context"]
