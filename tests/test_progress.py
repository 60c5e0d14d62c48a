"""Live lines stay out of log files, and `track` changes nothing about what it passes on."""

from qa.progress import console, live_line, track


def test_a_log_file_gets_no_live_line() -> None:
    assert not console.is_terminal
    assert live_line().disable


def test_track_passes_everything_on_and_shows_itself_only_after_its_patience() -> None:
    assert list(track(range(5), "x", total=5, patience=0.0)) == [0, 1, 2, 3, 4]
    assert list(track([], "x", total=0)) == []
