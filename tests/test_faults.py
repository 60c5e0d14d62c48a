"""Full disks, hostile files and odd names: one clear line, and nothing lost."""

import gzip
import io
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from helpers.commands import Run, quick_fit
from helpers.forked import python
from helpers.paths import ROOT
from qa.data.reading import json_records, json_text, parquet, tables
from qa.data.reading.examples import read_examples
from qa.data.windows.tokenizer import load_tokenizer
from qa.errors import UserError
from qa.model.answering import Answering
from qa.model.pretrained import Attention, check_model, load_model, save_model

Files = tuple[Path, Path]


def arguments(files: Files, tiny: Path, cache: Path) -> list[str]:
    return quick_fit(files, tiny, cache, "trainer.max_epochs=2")


def with_files_of_at_most(size: int, *command: str) -> "subprocess.CompletedProcess[str]":
    """A run on a disk that takes no more than `size` bytes of a file; the kernel says so as it does for a full one."""
    code = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
    code += "runpy.run_path('train.py', run_name='__main__')"
    return subprocess.run([python(), "-c", code, *command], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.guarantee(
    "A disk too full for a checkpoint: one line, no half file, earlier ones stay; the run ends, or continues if told"
)
@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_checkpoint_that_the_disk_does_not_take(
    devices: int, train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    command = [*arguments(small_files, tiny, tmp_path / "cache"), f"hydra.run.dir={folder}"]
    command += [f"trainer.devices={devices}", "checkpoint.every_n_steps=2"]
    ended = with_files_of_at_most(8 << 20, *command)
    assert ended.returncode == 2
    assert "step 2: no checkpoint could be saved (" in ended.stderr
    assert "checkpoint.on_error=continue" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list((folder / "checkpoints").iterdir()) == []
    ended = with_files_of_at_most(8 << 20, *command, "checkpoint.on_error=continue")
    assert ended.returncode == 2  # the best epoch must be on the disk
    assert "WARNING: step 2: no checkpoint" in ended.stderr
    assert "ERROR: step 5: no checkpoint" in ended.stderr
    assert list((folder / "checkpoints").iterdir()) == []
    assert train_py(*command).returncode == 0


@pytest.mark.guarantee("A disk too full for the model: one line, no half folder; the same command writes it later")
def test_a_model_that_the_disk_does_not_take(tiny: Path, tmp_path: Path) -> None:
    loaded, tokenizer = load_model(str(tiny)).model, load_tokenizer(str(tiny))
    rest = dict(loaded.state_dict()), tokenizer, "a card", Answering(), np.zeros(1, np.uint64)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # the weights have 4 MiB
    try:
        with pytest.raises(UserError, match=r"model: cannot be written \(.*\); make room there") as error:
            save_model(tmp_path / "model", loaded, *rest)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    save_model(tmp_path / "model", loaded, *rest)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()}
    (tmp_path / "any").touch()
    assert modes == {(tmp_path / "any").stat().st_mode & 0o777}  # others may read it where they may read any new file


@pytest.mark.guarantee("A folder that cannot be written is named in one line")
def test_a_folder_that_cannot_be_written(train_py: Run, tiny: Path, small_files: Files, tmp_path: Path) -> None:
    command = arguments(small_files, tiny, tmp_path / "cache")
    done = train_py(*command, "hydra.run.dir=/proc/1/run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "/proc/1/run: " in done.stderr
    done = train_py(*command, "data.cache_dir=/proc/1/cache", f"hydra.run.dir={tmp_path}/run")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)  # a cache is a help, and no more
    assert "WARNING: data.cache_dir=/proc/1/cache: not used (" in done.stderr


def bomb(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        file.write(b'{"a":"')
        for _ in range(64):
            file.write(b"x" * (1 << 20))


def long_line(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        file.write(b"question,context,answer\nwho,")
        for _ in range(256):
            file.write(b"x" * (1 << 20))


def endless_record(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        file.write(b"question,context,answer\n")
        for _ in range(256):
            file.write(b'"a\n",' * (1 << 18))


def one_text(path: Path) -> None:
    """One text of 64 MiB in a thousand rows."""
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1000), ["x" * (64 << 20)])
    pyarrow.parquet.write_table(pyarrow.table({"question": texts, "context": texts}), path, compression="zstd")


def one_answer(path: Path) -> None:
    """The same inside of lists."""
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1000), ["x" * (64 << 20)])
    answers = pyarrow.ListArray.from_arrays(pyarrow.array(range(1001), pyarrow.int32()), texts)
    table = pyarrow.table({"question": ["?"] * 1000, "context": ["c"] * 1000, "answer": answers})
    pyarrow.parquet.write_table(table, path, compression="zstd")


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "deep.json": (lambda path: path.write_text("[" * 1_000_000), "nested too deeply"),
    "deep.jsonl": (lambda path: path.write_text("[" * 1_000_000), "nested too deeply"),
    "digits.json": (lambda path: path.write_text('{"data": ' + "9" * 5000 + "}"), "thousands of digits"),
    "digits.jsonl": (lambda path: path.write_text('{"id": ' + "9" * 5000 + "}"), "line 1: not JSON"),
    "bomb.json.gz": (bomb, "more than 8 MiB of JSON in one value; make it .jsonl"),
    "bomb.jsonl.gz": (bomb, "line 1: longer than 8 MiB"),
    "huge.json": (lambda path: path.write_text("{" + " " * (9 << 20)), "it may be truncated"),
    "line.csv.gz": (long_line, "a record of more than 8 MiB"),
    "record.csv.gz": (endless_record, "a record of more than 8 MiB"),
    "text.parquet": (one_text, "rows 1 to 1: a text of more than 8 MiB"),
    "answer.parquet": (one_answer, "rows 1 to 1: a text of more than 8 MiB"),
    "pickle.json": (lambda path: path.write_bytes(pickle.dumps([1])), "not UTF-8"),
}


def peak(code: str, *arguments: str) -> int:
    """KiB that a Python process needs beyond what its imports take."""
    imports = (
        "from qa.data.reading import parquet, tables\n"
        "from qa.data.reading.examples import read_examples\n"
        "from qa.errors import UserError\n"
    )
    whole = f"import resource, sys\n{imports}{code}"
    whole += "\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    command = [sys.executable, "-c", whole, *arguments]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.guarantee("Data files made to harm (deep, huge, bombs): one line, little memory")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_data_files_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, complaint = HOSTILE[name]
    write(tmp_path / name)
    monkeypatch.setattr(json_text, "LARGEST_VALUE", 8 << 20)
    for module in (json_records, tables, parquet):
        monkeypatch.setattr(module, "LONGEST_LINE", 8 << 20)
    with pytest.raises(UserError, match=complaint) as error:
        read_examples(str(tmp_path / name))
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.guarantee("Data files made to harm (deep, huge, bombs): one line, little memory")
def test_small_files_that_unpack_to_much_take_little_memory(tmp_path: Path) -> None:
    for write, name in ((long_line, "line.csv.gz"), (one_text, "text.parquet"), (one_answer, "answer.parquet")):
        write(tmp_path / name)
        assert (tmp_path / name).stat().st_size < 1 << 20
    nothing = peak("pass")
    for path in tmp_path.iterdir():
        code = "parquet.LONGEST_LINE = tables.LONGEST_LINE = 8 << 20\n"
        code += "try: read_examples(sys.argv[1])\nexcept UserError: pass"
        assert peak(code, str(path)) - nothing < 400 << 10, path.name  # of 256 MiB to 62 GiB
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 1000), ["x" * (1 << 20)])
    table = pyarrow.table({"question": ["?"] * 1000, "context": texts, "answer": texts})
    pyarrow.parquet.write_table(table, tmp_path / "good.parquet", compression="zstd")
    code = "assert len(read_examples(sys.argv[1]).examples) == 1000"
    assert peak(code, str(tmp_path / "good.parquet")) - nothing < 200 << 10  # texts of 2 GiB


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch evil",)


@pytest.mark.guarantee("Weights and checkpoints that would run code are refused")
def test_pickles_run_no_code(train_py: Run, tiny: Path, small_files: Files, tmp_path: Path) -> None:
    evil = tmp_path / "model"
    shutil.copytree(tiny, evil)
    (evil / "model.safetensors").unlink()
    (evil / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Evil()}))
    command = arguments(small_files, evil, tmp_path / "cache")
    done = train_py(*command, f"hydra.run.dir={tmp_path}/run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "its weights cannot be read" in done.stderr
    (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(Evil()))
    command = arguments(small_files, tiny, tmp_path / "cache")
    done = train_py(*command, f"resume={tmp_path}/evil.ckpt", f"hydra.run.dir={tmp_path}/run2")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "evil.ckpt: not a checkpoint that can be read" in done.stderr
    assert not (ROOT / "evil").exists()


@pytest.mark.guarantee("Weights and checkpoints that would run code are refused")
@pytest.mark.parametrize("named_in", ["config.json", "config.json of a known kind", "tokenizer_config.json"])
def test_code_that_comes_with_a_model_is_never_run(
    named_in: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\nclass Evil: pass\n"
    (model / "evil.py").write_text(code)
    path = model / named_in.split()[0]
    config = json.loads(path.read_text())
    if path.name == "config.json":
        config["auto_map"] = {"AutoConfig": "evil.Evil", "AutoModelForQuestionAnswering": "evil.Evil"}
        config["model_type"] = "bert" if "known" in named_in else "evil"
    else:
        config.update(auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, tokenizer_class="Evil")
    path.write_text(json.dumps(config))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))  # to be asked and say yes would be fatal
    # what transformers has code for itself is loaded by that
    refused = pytest.raises(UserError, match="code of its own, which is not run")
    with refused if named_in == "config.json" else nullcontext():
        check_model(str(model), load_tokenizer(str(model)), 64)
        load_model(str(model))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_experts_implementation"])
def test_code_of_the_hub_that_a_config_names_is_not_fetched(
    key: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kernels for its attention."""
    shutil.copytree(tiny, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: "kernels-community/flash-attn2"}))
    opened: list[object] = []
    monkeypatch.setattr("socket.socket.connect", lambda *arguments: opened.append(arguments))
    monkeypatch.setattr("socket.getaddrinfo", lambda *arguments, **_: opened.append(arguments))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    check_model(str(tmp_path / "model"), load_tokenizer(str(tmp_path / "model")), 64)
    computed_by: dict[Attention, str] = {"auto": "sdpa", "sdpa": "sdpa", "eager": "eager"}
    for attention, other in computed_by.items():
        config = load_model(str(tmp_path / "model"), attention).model.config
        assert config._attn_implementation == other
    assert opened == []


@pytest.mark.guarantee(
    "Names with spaces, quotes, newlines and other scripts work; links out of a run folder are not followed"
)
def test_odd_names_and_links_out_of_the_run_folder(
    train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    odd = tmp_path / "a name, with 'quotes' = and\nüñí 文"
    odd.mkdir()
    for file in small_files:
        shutil.copy(file, odd)
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("nbest.json", "predictions.json", "precious"):
        (outside / name).write_text("mine")
    run = odd / "run"
    (run / ".hydra").mkdir(parents=True)
    (run / ".hydra" / "config.yaml").write_text("{stage: fit, data: {}, model: {}, decode: {}, nonfinite: stop}")
    (run / "nbest.json").symlink_to(outside / "nbest.json")
    (run / "predictions.json").symlink_to(outside / "predictions.json")
    (run / "model").symlink_to(outside)

    def quoted(path: Path) -> str:
        return "'" + str(path).replace("'", "\\'") + "'"

    command = [
        *arguments(small_files, tiny, tmp_path / "cache"), f"data.train_file={quoted(odd / small_files[0].name)}",
        f"data.validation_file={quoted(odd / small_files[1].name)}", f"hydra.run.dir={quoted(run)}",
        "trainer.devices=2",
    ]  # fmt: skip
    done = train_py(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((run / "results.json").read_text())["devices"] == 2
    assert not (run / "model").is_symlink()
    assert [(outside / name).read_text() for name in ("nbest.json", "predictions.json", "precious")] == ["mine"] * 3
    (odd / small_files[0].name).write_text("[]")
    done = train_py(*command, "resume=never")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.guarantee("A terminal with few letters works; control characters in the data do not reach it")
def test_a_terminal_of_few_letters_and_texts_that_would_command_it(
    train_py: Run, tiny: Path, small_files: Files, tmp_path: Path
) -> None:
    file = tmp_path / "validation.json"
    commands = "\x1b]0;taken\x07 \x9b31m \x7f 北京 "
    content = json.loads(small_files[1].read_text())
    for paragraph in content["data"][0]["paragraphs"]:
        for question in paragraph["qas"]:
            question["question"] = commands + question["question"]
    file.write_text(json.dumps(content))
    command = arguments((small_files[0], file), tiny, tmp_path / "cache")
    few = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = train_py(*command, f"hydra.run.dir={tmp_path}/run", **few)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii() and "? best" in done.stdout
    assert "\nQ  ?]0;taken" in done.stdout
    assert not set(done.stdout) & {"\x1b", "\x07", "\x7f"}
    question["id"] = "\x1b[2J" + question["id"]
    question["answers"][0]["answer_start"] += 1
    file.write_text(json.dumps(content))
    done = train_py(*command, f"hydra.run.dir={tmp_path}/bad")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "\x1b" not in done.stderr
