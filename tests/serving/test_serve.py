"""The door of the service: what is wrong with its arguments is one line, before anything is loaded or written."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.commands import wait
from helpers.paths import ROOT
from qa.errors import UserError
from qa.serve import main
from qa.serving.server import bind, listen


def refusal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["qa.serve", *arguments])
    with pytest.raises(UserError) as found:
        main()
    return str(found.value)


def test_arguments_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QA_SERVE_TOKEN", raising=False)
    assert refusal(monkeypatch) == "no model given, and no runs/demo/model; give one, or: make demo && make serve"
    assert refusal(monkeypatch, "x", "--timeout", "0") == "--timeout 0: give seconds, more than 0"
    assert "give seconds" in refusal(monkeypatch, "x", "--timeout", "inf")
    empty = tmp_path / "token"
    empty.write_text("\n")
    assert "is empty; write a token" in refusal(monkeypatch, "x", "--token-file", str(empty))
    assert "cannot be read" in refusal(monkeypatch, "x", "--token-file", str(tmp_path / "none"))
    empty.write_text("two words")
    assert "give one word of ASCII" in refusal(monkeypatch, "x", "--token-file", str(empty))
    monkeypatch.setenv("QA_SERVE_TOKEN", "schlüssel")
    assert "give one word of ASCII" in refusal(monkeypatch, "x")
    monkeypatch.delenv("QA_SERVE_TOKEN")
    assert "nowhere" in refusal(monkeypatch, "nowhere/model", "--port", "0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = refusal(monkeypatch, str(tiny), "--port", str(taken.getsockname()[1]))
    assert words.endswith("Address already in use; give others")
    assert "give others" in refusal(monkeypatch, str(tiny), "--port", "99999")
    assert "--proxy: invalid" in refusal(monkeypatch, str(tiny), "--proxy", "nginx")
    folder = tmp_path / "folder.jsonl"
    folder.mkdir()
    assert "--corrections" in refusal(monkeypatch, str(tiny), "--port", "0", "--corrections", str(folder))
    other = tmp_path / "other.jsonl"
    other.write_text("no JSON\n")
    refused = refusal(monkeypatch, str(tiny), "--port", "0", "--corrections", str(other))
    assert "other.jsonl: line 1 is no correction" in refused
    assert other.read_text() == "no JSON\n"


def test_the_address_that_is_shown_can_be_opened() -> None:
    for host, shown in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")):
        with bind(host, 0) as bound:
            assert listen(bound) == f"http://{shown}:{bound.getsockname()[1]}"
            socket.create_connection((shown, bound.getsockname()[1])).close()


def test_a_service_that_starts_can_be_stopped(tiny: Path, tmp_path: Path) -> None:
    """Also as the first process of a container, which gets no signal without a handler."""
    corrections = tmp_path / "c.jsonl"
    command = [sys.executable, "-m", "qa.serve", str(tiny), "--port", "0", "--corrections", str(corrections)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        wait(corrections.exists, "the file of corrections")
        process.terminate()
        assert process.wait(30) == 143


def test_a_port_in_use_is_refused_before_torch_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ["qa.serve", "x", "--port", str(taken.getsockname()[1])]
        code = (
            f"import sys; sys.argv = {words}\nfrom qa.serve import main\ntry:\n    main()\n"
            "except Exception as error:\n    print(error)\nprint('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-2:] == [
        f"--host 127.0.0.1 --port {words[-1]}: Address already in use; give others",
        "False",
    ]
