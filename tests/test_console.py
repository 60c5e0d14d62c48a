"""Live lines stay out of log files, and `track` changes nothing about what it passes on."""

import logging

import pytest

from qa.console import Plain, console, live_line, track
from qa.errors import UserError


def test_a_log_file_gets_no_live_line() -> None:
    assert not console.is_terminal
    assert live_line().disable


def test_track_passes_everything_on_and_shows_itself_only_after_its_patience() -> None:
    assert list(track(range(5), "x", total=5, patience=0.0)) == [0, 1, 2, 3, 4]
    assert list(track([], "x", total=0)) == []


def test_control_characters_of_data_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    evil, shown = "a\x1b]0;b\x07\x9bc\x7f\td", "a␛]0;b␇\ufffdc␡\td"
    console.print("x \x1b]0;b\x9b", end="")
    assert capsys.readouterr().out == "x ␛]0;b\ufffd"
    assert str(UserError(evil)) == shown
    record = logging.LogRecord("qa", logging.WARNING, "", 1, "%s", (evil,), None)
    assert Plain("%(levelname)s: %(message)s").format(record) == f"WARNING: {shown}"
