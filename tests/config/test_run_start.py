"""Whose a run folder is: nothing in it is lost to another run, and it answers for its own run alone."""

import json
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from helpers.commands import Run, quick_fit
from helpers.forked import python
from helpers.paths import ROOT
from qa.config.entry import resuming_command
from qa.config.run_start import RunStart, _lock, remove_unused
from qa.storage import new_folder

Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def finished(train_py: Run, tiny: Path, small_files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of a run of one epoch, its cache, and the run itself."""
    made = tmp_path_factory.mktemp("finished")
    for file in small_files:
        shutil.copy(file, made)
    done = train_py(*arguments_in(made, tiny), f"hydra.run.dir={made}/run")
    assert (done.returncode, done.stderr) == (0, "")
    return made


def arguments_in(folder: Path, tiny: Path) -> list[str]:
    files = folder / "train.json", folder / "validation.json"
    return [*quick_fit(files, tiny, folder / "cache"), "trainer.max_epochs=1", "data.limit=8"]


@pytest.fixture
def fit(finished: Path, tiny: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """The folder of a finished run of one epoch, and its arguments but for the folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run", arguments_in(tmp_path, tiny)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder but its lock and its log."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in (".run.lock", "train.log")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.guarantee("Nothing is deleted: `resume=never` moves an earlier run aside, once data and model are checked")
def test_an_earlier_run_is_moved_aside_once_the_new_one_is_known_to_be_good(
    fit: tuple[Path, list[str]], train_py: Run
) -> None:
    folder, arguments = fit
    before = contents(folder)
    for mistake in ("data.train_file=/nowhere.json", "model.pretrained=/nowhere", "data.max_length=20"):
        refused = train_py(*arguments, mistake, "resume=never", f"hydra.run.dir={folder}")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
        assert contents(folder) == before
    done = train_py(*arguments, "seed=2", "resume=never", f"hydra.run.dir={folder}")
    assert (done.returncode, done.stderr) == (0, "")
    (aside,) = folder.parent.glob("run.old-*")
    assert f"what was in {folder} is now in {aside}" in done.stdout
    assert contents(aside) == before
    assert "seed: 2" in (folder / ".hydra" / "config.yaml").read_text()
    assert contents(folder)["results.json"] != before["results.json"]
    shown = train_py(*arguments, f"hydra.run.dir={aside}")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"{aside} is finished" in shown.stdout


def test_runs_that_start_in_one_second_have_a_folder_each(tmp_path: Path) -> None:
    config = OmegaConf.create({"hydra": {"run": {"dir": f"{tmp_path}/runs/${{now:%S}}"}}, "resume": "auto"})
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path / "runs" / "a"), range(8)))
    assert {folder.name for folder in folders} == {"a", *(f"a-{number}" for number in range(2, 9))}
    first, second = (_lock(tmp_path / "runs" / "a", config.copy()) for _ in range(2))
    assert (first.name, second.name) == ("a-9", "a-10")


@pytest.mark.slow
def test_two_commands_at_once_are_two_runs(tiny: Path, small_files: Files, tmp_path: Path) -> None:
    folder = f"hydra.run.dir={tmp_path}/runs/${{now:%Y%%S}}"  # the same for both, however slowly they start
    words = [*arguments_in(small_files[0].parent, tiny), f"data.cache_dir={tmp_path}/cache", folder]
    started = [subprocess.Popen([python(), "train.py", *words], cwd=ROOT, stderr=subprocess.PIPE) for _ in "ab"]
    errors = [process.communicate(timeout=300)[1].decode() for process in started]
    assert errors == ["", ""]
    assert len(list((tmp_path / "runs").glob("*/results.json"))) == 2


@pytest.mark.guarantee("A folder of another program is refused and not changed")
def test_a_folder_of_something_else_is_left_as_it_is(
    train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    for name in ("model/thesis", "checkpoints/other.pt", "wandb/x"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    before = contents(folder)
    for resume in ("never", "auto"):
        command = [*quick_fit(small_files, tiny, tmp_path / "cache"), f"resume={resume}", f"hydra.run.dir={folder}"]
        done = train_py(*command)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"{folder}: holds model, checkpoints, wandb, and not from a run of this program" in done.stderr
        assert contents(folder) == before


def test_an_evaluation_takes_no_fits_folder_and_no_advice_would_lose_it(
    fit: tuple[Path, list[str]], train_py: Run
) -> None:
    folder, arguments = fit
    before = contents(folder)
    for resume in ("auto", "never"):
        evaluation = [
            "stage=validate",
            f"model.pretrained={folder}/model",
            f"resume={resume}",
            f"hydra.run.dir={folder}",
        ]
        done = train_py(*arguments, *evaluation)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "give another hydra.run.dir" in done.stderr and "resume=never" not in done.stderr
    done = train_py(*arguments, f"model.pretrained={folder}/model", "resume=never", f"hydra.run.dir={folder}")
    assert f"{folder}/model: is in {folder}, which resume=never moves aside" in done.stderr
    assert contents(folder) == before
    (folder / "results.json").unlink()  # as if it had been interrupted
    before = contents(folder)
    evaluation = ["stage=validate", f"resume={folder}/checkpoints/last.ckpt", f"hydra.run.dir={folder}"]
    done = train_py(*arguments, *evaluation)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{folder}: holds a fit, which stage=validate does not replace" in done.stderr
    assert contents(folder) == before


@pytest.mark.guarantee("A run folder is never used for other settings, data or weights; what differs is named")
def test_a_folder_answers_for_its_own_data_and_weights_alone(
    fit: tuple[Path, list[str]], train_py: Run, tmp_path: Path
) -> None:
    """Also one that was copied without its hidden files, the second time as the first."""
    folder, arguments = fit
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(".hydra"))
    evaluation = [*arguments, "stage=validate", f"model.pretrained={folder}/model"]
    for _ in range(2):
        done = train_py(*evaluation, f"hydra.run.dir={copy}")
        assert (done.returncode, "stage (fit there, validate here)" in done.stderr) == (2, True)
    assert f"{copy} is finished" in train_py(*arguments, f"hydra.run.dir={copy}").stdout
    for more, status in (([], 0), (["seed=2"], 2)):  # a further rank of torchrun or srun waits for nobody
        second = train_py(*arguments, *more, f"hydra.run.dir={copy}", RANK="1", WORLD_SIZE="2", timeout=60)
        assert (second.returncode, second.stdout, second.stderr) == (status, "", "")

    done = train_py(*evaluation, f"hydra.run.dir={tmp_path}/validate")
    assert (done.returncode, done.stderr) == (0, "")
    table = json.loads((tmp_path / "validate" / "results.json").read_text())
    file = tmp_path / "validation.json"
    file.write_text(file.read_text().replace("grey stone", "blue stone"))
    done = train_py(*evaluation, f"hydra.run.dir={tmp_path}/validate")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "holds a finished run of other settings or data: the content of validation (" in done.stderr
    assert json.loads((tmp_path / "validate" / "results.json").read_text()) == table


def test_the_command_after_an_interruption_names_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["train.py", "resume=never", "data.train_file='a b.json'"]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr(RunStart, "folder", Path("runs/2026-11-26/00-48-00"))
    named = ["python", "train.py", words[2], "hydra.run.dir=runs/2026-11-26/00-48-00"]
    assert shlex.split(resuming_command()) == named
    monkeypatch.setattr("sys.argv", [*words, "hydra.run.dir=mine"])
    assert shlex.split(resuming_command()) == ["python", "train.py", words[2], "hydra.run.dir=mine"]


def test_only_what_a_refused_run_made_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    folder = tmp_path / "runs" / "date" / "time"
    for held, stays in (((), False), (("results.json",), True)):
        folder.mkdir(parents=True)
        for name in ("train.log", ".run.lock", *held):
            (folder / name).touch()
        monkeypatch.setattr(RunStart, "folder", folder)
        monkeypatch.setattr(RunStart, "new_folders", ())
        remove_unused()
        assert (folder / "train.log").exists()  # it was there before
        monkeypatch.setattr(RunStart, "new_folders", (folder, folder.parent))
        remove_unused()
        assert folder.exists() == folder.parent.exists() == stays
        assert (tmp_path / "runs").exists()
