"""The guarantees that tests are marked with, and the table of docs/guarantees.md."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from qa.storage import write_text

BEGIN, END = "<!-- written by `make prove` -->\n", "<!-- end -->\n"


class Tried(NamedTuple):
    """A guarantee in the cases that were tried."""

    text: str
    tests: list[str]
    cases: int
    held: int
    seconds: float


def tried(reports: Iterable[Any]) -> list[Tried]:
    """The guarantees of pytest's reports, in the order of their tests; long cases of something else are no row."""
    groups: dict[str, list[Any]] = {}
    for report in sorted(reports, key=lambda report: report.nodeid):
        if text := dict(report.user_properties).get("guarantee"):
            groups.setdefault(text, []).append(report)
    return [_tried(text, group) for text, group in groups.items()]


def _tried(text: str, reports: list[Any]) -> Tried:
    tests = list(dict.fromkeys(report.nodeid.partition("[")[0] for report in reports))
    seconds = sum(report.duration for report in reports)
    return Tried(text, tests, len(reports), sum(report.passed for report in reports), seconds)


def as_table(found: Iterable[Tried]) -> Table:
    """For a terminal."""
    table = Table("guarantee", "cases", "held", "seconds")
    for each in found:
        table.add_row(each.text, str(each.cases), str(each.held), f"{each.seconds:.0f}")
    return table


def write_page(path: Path, found: list[Tried], seconds: float) -> None:
    """Replaces the table of a page."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    cases, held = sum(each.cases for each in found), sum(each.held for each in found)
    rows = [f"| {each.text} | {each.held} of {each.cases} | {_names(each.tests)} |" for each in found]
    lines = [
        f"{held} of {cases} cases held, in {seconds / 60:.0f} minutes on 2 CPU cores.", "",
        "| guaranteed | held | tested by |", "| --- | --- | --- |", *rows, "",
    ]  # fmt: skip
    write_text(path, before + BEGIN + "\n".join(lines) + END + rest.partition(END)[2])


def _names(tests: list[str]) -> str:
    return ", ".join(f"[`{test.rpartition('::')[2]}`](../{test.partition('::')[0]})" for test in tests)
