"""The same result on any number of devices, and no process left behind."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hypothesis import given
from hypothesis import strategies as st

from helpers.commands import Run, quick_fit, started, wait, wait_for_files
from helpers.paths import ROOT
from qa.config.command_line import quoted
from qa.processes import SLEEPING_THREADS, cores, run_ranks

Files = tuple[Path, Path]
pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def small(small_files: Files, exact: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    cache = tmp_path_factory.getbasetemp() / "launch-cache"
    return quick_fit(small_files, exact, cache)


def steps(folder: Path) -> list[float]:
    """The loss of every step."""
    with (folder / "metrics.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]


def results(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


def children(process: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.guarantee(
    "50 losses on 1, 2 and 4 CPU ranks agree within 1e-4, dropout on or off, and the predictions are the same"
)
@pytest.mark.parametrize(
    "dropout",
    [pytest.param(False, id="without dropout", marks=pytest.mark.long), pytest.param(True, id="with dropout")],
)
def test_losses_and_predictions_do_not_depend_on_the_number_of_ranks(
    dropout: bool, small: list[str], tiny: Path, train_py: Run, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """50 steps of 13 windows: the parts are unequal, and the last batch of 2 leaves two of 4 ranks without one."""
    small = [*small, f"model.pretrained={tiny}"] if dropout else small
    more = (2, 4) if pytestconfig.getoption("--prove") else (4,)
    for devices in (1, *more):
        done = train_py(
            *small, f"trainer.devices={devices}", "data.batch_size=13",
            f"data.micro_batch_size={'auto' if devices == 1 else 2}", "trainer.max_epochs=9", "trainer.max_steps=50",
            f"hydra.run.dir={tmp_path}/{devices}", OMP_NUM_THREADS="1",
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("output") == 1
        assert ("they share" in done.stdout) == (devices > cores())
    one = tmp_path / "1"
    assert len(steps(one)) == 50
    for other in (tmp_path / str(devices) for devices in more):
        assert steps(other) == pytest.approx(steps(one), abs=1e-4)
        assert (other / "predictions.json").read_bytes() == (one / "predictions.json").read_bytes()
        assert results(other)["devices"] == int(other.name)
        for row, row2 in zip(results(one)["epochs"], results(other)["epochs"], strict=True):
            assert row2 == pytest.approx(row, abs=1e-4)


@pytest.mark.guarantee(
    "For the same weights an evaluation has the same predictions to the byte, also with more ranks than batches"
)
def test_an_evaluation_is_the_same_to_the_byte_on_more_ranks_than_batches(
    small: list[str], train_py: Run, tmp_path: Path
) -> None:
    for devices in (1, 3):
        done = train_py(
            *small, "stage=validate", f"trainer.devices={devices}", f"hydra.run.dir={tmp_path}/{devices}",
            OMP_NUM_THREADS="1",
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    for name in ("predictions.json", "nbest.json", "questions.parquet", "results.md"):
        assert (tmp_path / "3" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
    assert results(tmp_path / "3")["best"] == results(tmp_path / "1")["best"]


@pytest.mark.guarantee("Another number of devices resumes with the same data, losses within 1e-4 with dropout off")
def test_a_run_resumes_with_another_number_of_devices(small: list[str], train_py: Run, tmp_path: Path) -> None:
    small = [*small, "trainer.max_epochs=4", "checkpoint.every_n_steps=1"]
    assert train_py(*small, f"hydra.run.dir={tmp_path}/whole").returncode == 0
    process = started([*small, f"hydra.run.dir={tmp_path}/cut"], tmp_path / "cut" / "checkpoints" / "last.ckpt")
    process.kill()
    process.communicate()
    done = train_py(*small, "trainer.devices=2", f"hydra.run.dir={tmp_path}/cut", OMP_NUM_THREADS="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "resumed at step" in done.stdout
    assert steps(tmp_path / "cut") == pytest.approx(steps(tmp_path / "whole"), abs=1e-4)


@pytest.mark.guarantee("A rank that dies ends the run and is named")
def test_a_rank_that_dies_ends_all_and_is_named(small: list[str], tmp_path: Path) -> None:
    arguments = [*small, "trainer.max_epochs=900", "trainer.devices=2", f"hydra.run.dir={tmp_path}/run"]
    process = started(arguments, tmp_path / "run" / "metrics.csv", fresh=True, OMP_NUM_THREADS="1")
    ranks = children(process.pid)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "process 1 was killed by SIGKILL" in said
    assert not any(Path(f"/proc/{rank}").exists() for rank in ranks)


SITE = """
import atexit, os, time
if os.environ.get("RANK") == "0":
    atexit.register(time.sleep, 300)  # as NCCL, which waits for the other ranks
    replace = os.replace
    def full(source, target, **named):
        if str(target).endswith("predictions.json"):
            raise OSError(28, "No space left on device", str(target))
        replace(source, target, **named)
    os.replace = full
"""


@pytest.mark.guarantee("An error of one rank ends all ranks within seconds; its message is reported")
def test_an_error_of_the_first_rank_alone_ends_all_at_once_in_its_own_words(
    small: list[str], train_py: Run, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    begin = time.monotonic()
    done = train_py(
        *small, "trainer.devices=2", f"hydra.run.dir={tmp_path}/run", OMP_NUM_THREADS="1", PYTHONPATH=str(tmp_path)
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "predictions.json: No space left on device; make room there" in done.stderr
    assert time.monotonic() - begin < 150


@pytest.mark.slow
def test_a_rank_that_is_aborted_while_it_waits_is_not_what_is_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As torch does to the others when a rank ends: what that rank said comes first."""
    script = tmp_path / "rank.py"
    script.write_text(
        "import os, time\n"
        "if os.environ['RANK'] == '1':\n    time.sleep(1)\n    os.abort()\n"
        "open(os.environ['QA_ERROR'], 'w').write('ERROR: no room')\ntime.sleep(9)\n"
    )
    assert run_ranks([sys.executable, str(script)], 2, None) == 1
    assert capfd.readouterr().err == "ERROR: no room\n"


def listening(process: int) -> set[str]:
    """The addresses at which a process listens, in hexadecimal."""
    files = [str(file.readlink()) for file in Path(f"/proc/{process}/fd").iterdir() if file.is_symlink()]
    sockets = {name[8:-1] for name in files if name.startswith("socket:")}
    tables = [Path(f"/proc/{process}/net/{kind}").read_text() for kind in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.splitlines()]
    return {line[1].partition(":")[0] for line in lines if line[3] == "0A" and line[9] in sockets}


def test_a_list_of_devices_is_refused_where_another_launcher_starts_the_processes(
    small: list[str], train_py: Run, tmp_path: Path
) -> None:
    """Torchrun would give the processes devices 0, 1 … instead."""
    ranks = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    done = train_py(*small, "trainer.devices=[0,2]", f"hydra.run.dir={tmp_path}/run", **ranks)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "trainer.devices=[0, 2]: torchrun and srun start a process" in done.stderr


def printed(script: str, **environment: str) -> str:
    """What a script prints, run by a Python that has not imported torch."""
    env = {name: value for name, value in os.environ.items() if name not in SLEEPING_THREADS} | environment
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout.strip()


def test_threads_of_our_commands_leave_cores_to_other_programs_and_those_of_a_library_do_as_their_host_likes() -> None:
    """What OpenMP is told counts only before torch is imported."""
    doors = [path.stem for path in (ROOT / "qa").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
    told = "[os.environ.get(name) for name in processes.SLEEPING_THREADS]"
    script = f"import os, sys; from qa import processes, {', '.join(doors)}; print({told}, 'torch' in sys.modules)"
    assert "answer" in doors and printed(script) == "[None, None] False"
    script = f"import os; from qa import errors, processes; errors.door(lambda: print({told}))"
    assert printed(script) == "['passive', '0']"
    assert printed(script, OMP_WAIT_POLICY="active") == "['active', None]"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process counts what it held as another program")
def test_the_memory_of_a_process_is_its_own_and_not_that_of_whoever_started_it() -> None:
    child = "import qa.memory as p; before = p.peak_resident_memory(); held = b'x' * (300 << 20); "
    child += "print(before < 0.5, p.peak_resident_memory() - before > 0.29)"
    script = f"import os, sys; held = b'x' * (1 << 30); os.execv(sys.executable, [sys.executable, '-c', {child!r}])"
    assert printed(script) == "True True"


@pytest.mark.slow
def test_windows_is_named() -> None:
    script = "import sys; sys.platform = 'win32'; import qa.processes"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr == "ERROR: Windows is not supported; use Linux, macOS, or the Windows Subsystem for Linux\n"


@pytest.mark.guarantee("No rank outlives the process that started it")
def test_no_rank_outlives_the_process_that_started_it(small: list[str], tmp_path: Path) -> None:
    """Nor does one listen on another device than loopback while it runs."""
    arguments = [*small, "trainer.max_epochs=900", "trainer.devices=2", f"hydra.run.dir={tmp_path}/run"]
    process = started(arguments, tmp_path / "run" / "metrics.csv", fresh=True, OMP_NUM_THREADS="1")
    ranks = children(process.pid)
    assert all(b"OMP_WAIT_POLICY=passive" in Path(f"/proc/{rank}/environ").read_bytes() for rank in ranks)
    found = set().union(*map(listening, ranks))
    process.kill()
    process.communicate()
    assert found == {"0100007F"}
    wait(lambda: not any(Path(f"/proc/{rank}").exists() for rank in ranks), "the end of all ranks", limit=10)


def test_a_mistake_is_reported_once_for_all_ranks(small: list[str], train_py: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"data": []}')
    done = train_py(
        *small, "trainer.devices=2", f"data.train_file={tmp_path}/bad.json", f"hydra.run.dir={tmp_path}/run"
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ERROR: ")
    assert done.stderr.count("\n") == 1
    assert "no question in it" in done.stderr


def test_more_devices_than_a_machine_can_carry_are_refused_before_they_start(
    small: list[str], train_py: Run, tmp_path: Path
) -> None:
    done = train_py(*small, "trainer.devices=9999", f"hydra.run.dir={tmp_path}/run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "trainer.devices=9999: too many processes" in done.stderr


@pytest.mark.guarantee(
    "A second run into one folder is refused until the last process of the first is gone (over NFS: not tried)"
)
def test_a_second_run_into_one_folder_is_refused(small: list[str], train_py: Run, tmp_path: Path) -> None:
    arguments = [*small, "trainer.max_epochs=900", f"hydra.run.dir={tmp_path}/run"]
    process = started(arguments, tmp_path / "run" / "metrics.csv")
    second = train_py(*arguments)
    process.kill()
    process.communicate()
    assert second.returncode == 2
    assert "another run is writing into it" in second.stderr


@pytest.mark.guarantee("A sweep runs its jobs and no others, also with two devices")
def test_a_sweep_with_two_devices_runs_exactly_its_jobs(small: list[str], train_py: Run, tmp_path: Path) -> None:
    done = train_py(
        "-m", *small, "trainer.devices=2", "trainer.max_epochs=1", "optimizer.lr=1e-3,-1",
        f"hydra.sweep.dir={tmp_path}", OMP_NUM_THREADS="1",
    )  # fmt: skip
    assert done.returncode == 2  # the second has an impossible rate
    assert "Invalid learning rate: -1" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["0", "1"]
    assert results(tmp_path / "0")["devices"] == 2
    assert not (tmp_path / "1" / "results.json").exists()
    first, second = json.loads((tmp_path / "sweep.json").read_text())
    assert (first["settings"], first["status"]) == ({"optimizer.lr": 0.001}, "finished")
    assert first["val_loss"] == results(tmp_path / "0")["best"]["val_loss"]
    assert (second["status"], second["error"]) == ("failed", "optimizer: Invalid learning rate: -1")


@pytest.mark.long
@pytest.mark.guarantee("Two nodes by torchrun, on the loopback device")
def test_two_nodes_by_torchrun(small: list[str], train_py: Run, tmp_path: Path) -> None:
    assert train_py(*small, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/one").returncode == 0
    arguments = [*small, "trainer.max_epochs=1", f"hydra.run.dir={tmp_path}/two"]
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node_rank={node}",
             "--nproc_per_node=1", "--master_addr=127.0.0.1", "--master_port=29517", "train.py", *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for node in range(2)
    ]  # fmt: skip
    said = [node.communicate(timeout=120) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert results(tmp_path / "two")["devices"] == 2
    assert steps(tmp_path / "two") == pytest.approx(steps(tmp_path / "one"), abs=1e-4)
    assert "Training Loss" in said[0][0]
    assert "Training Loss" not in said[1][0]


def stubs(folder: Path) -> Path:
    """`srun` starts two tasks as SLURM would, `scontrol` notes what it is asked; returns where."""
    tasks = "SLURM_STEP_ID=0 SLURM_PROCID=$task SLURM_LOCALID=$task"
    stub = {
        "srun": '[ "$1 $2" = "--cpus-per-task=8 --kill-on-bad-exit=1" ] || exit 9; shift 2; worst=0\n'
        f'trap "kill -USR1 \\$pids" USR1; for task in 0 1; do {tasks} "$@" & pids="$pids $!"; done\n'
        "wait; for pid in $pids; do wait $pid; status=$?; echo $status >> $0.statuses\n"
        "[ $status -gt $worst ] && worst=$status; done; exit $worst",
        "scontrol": f'echo "$@" >> {folder}/calls; [ "$1" = requeue ] || echo 127.0.0.1',
        "python": f'exec {sys.executable} "$@"',
    }
    for name, script in stub.items():
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)
    return folder / "calls"


def slurm(folder: Path) -> dict[str, str]:
    """What SLURM sets for a job of two tasks."""
    return {
        "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_JOB_ID": "77",
        "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train", "SLURM_NODELIST": "localhost",
        "SLURM_JOB_NODELIST": "localhost", "SLURM_CPUS_PER_TASK": "8", "OMP_NUM_THREADS": "1",
        "PATH": f"{folder}:{os.environ['PATH']}",
    }  # fmt: skip


@pytest.mark.guarantee("SLURM, without a cluster: `slurm.sbatch` saves on SIGUSR1 and requeues the job")
@pytest.mark.parametrize(
    "command",
    [
        ["bash", "slurm.sbatch"],
        pytest.param([sys.executable, "train.py", "trainer.devices=2"], marks=pytest.mark.long),
    ],
)
def test_sigusr1_in_a_slurm_job_saves_and_asks_for_another_turn(
    command: list[str], small: list[str], tmp_path: Path
) -> None:
    calls = stubs(tmp_path)
    process = subprocess.Popen(
        [*command, *small, "trainer.max_epochs=900", f"hydra.run.dir={tmp_path}/run"], cwd=ROOT,
        env={**os.environ, **slurm(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    wait_for_files(process, tmp_path / "run" / "metrics.csv")
    os.kill(children(process.pid)[-1] if "bash" in command else process.pid, signal.SIGUSR1)
    said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGUSR1, said
    assert calls.read_text().splitlines()[-1] == "requeue 77"
    if "bash" in command:  # a status of the second task would end the first one, which has more to do
        assert (tmp_path / "srun.statuses").read_text().split() == ["138", "0"]
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == len(steps(tmp_path / "run"))


TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\\'\"${}[](),:= \n-+.1e", max_size=12)
WORDS = st.sampled_from(["123", "1e3", "-1", ".5", "1_0", "true", "FALSE", "Null", "inf", "-nan", "a\\", "\\\n", ""])
VALUES = st.recursive(
    TEXTS | WORDS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex("[a-z]+", fullmatch=True), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(VALUES)
def test_a_quoted_value_is_what_hydra_reads(value: Any) -> None:
    [override] = OverridesParser.create().parse_overrides([f"key={quoted(value)}"])
    assert read(override.value()) == value
    assert type(read(override.value())) is type(value)


def read(value: Any) -> Any:
    """A parsed value without Hydra's marks of quotes."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [read(child) for child in value]
    return {read(key): read(child) for key, child in value.items()} if isinstance(value, dict) else value
