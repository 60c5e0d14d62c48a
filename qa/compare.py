"""Finished runs against each other: is a difference more than chance?

python -m qa.compare RUN|SWEEP … [--json FILE] [--html FILE]
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from qa import UserError
from qa.page import templates
from qa.progress import console
from qa.questions import Question
from qa.report import write_text
from qa.sweeps import Sweep
from qa.systems import FIGURES, System, compare, read_run, systems

SIDES = ("only_one", "only_other")
SHOWN = 200  # questions that one system alone answers, on the page


def finished_jobs(folder: Path) -> list[Path]:
    """The folders of a sweep's finished jobs; a folder that holds no sweep is a run's. Errors: UserError for none."""
    if not (folder / "sweep.json").exists():
        return [folder]
    jobs = [folder / row.folder for row in Sweep(folder).rows() if row.status == "finished"]
    if not jobs:
        raise UserError(f"{folder}: no job of this sweep is finished; the same command goes on with it")
    return jobs


def as_page(report: dict[str, Any], found: Sequence[System]) -> str:
    """The same as HTML, with the questions that one of two systems alone answers exactly and what both say."""
    runs = {system.name: system.runs[0].questions for system in found}
    fixes = [
        {**fix, **{side: [_said(name, runs[fix["one"]], runs[fix["other"]]) for name in fix[side]] for side in SIDES}}
        for fix in report["fixes"]
    ]
    template = templates().get_template("compare.html")
    return template.render(report=report, fixes=fixes, shown=SHOWN, spread=_spread, bounds=_bounds)


def _said(name: str, one: dict[str, Question], other: dict[str, Question]) -> tuple[str, ...]:
    expected = " | ".join(dict.fromkeys(one[name].answers))
    return one[name].question, expected, one[name].prediction, other[name].prediction


def show(report: dict[str, Any], out: Console) -> None:
    """The tables, for a terminal."""
    table = Table("system", "seeds", "EM", "95%", "F1", "95%", "validation loss", title="Systems")
    for row in report["systems"]:
        cells = [part for figure in FIGURES for part in (_spread(row[figure]), _bounds(row[figure]))]
        table.add_row(row["name"], ", ".join(map(str, row["seeds"])), *cells, _spread(row["val_loss"], ".4f"))
    out.print(table)
    out.print(
        f"{report['questions']:,} questions that all runs share. ± is the spread over seeds; 95% over other questions."
    )
    for folder, count in ((f, c) for row in report["systems"] for f, c in row["left_out"].items() if c):
        out.print(f"{folder}: {count:,} further questions left out")
    if report["pairs"]:
        _show_pairs(report, out)
    for name, groups in report["kinds"].items():
        _show_kind(name, groups, out)


def _show_pairs(report: dict[str, Any], out: Console) -> None:
    table = Table("one", "other", "figure", "difference", "95%", "p", "p corrected", title="Differences")
    for row in report["pairs"]:
        values = f"{row['difference']:+.2f}", _bounds(row), f"{row['p']:.4f}", f"{row['p_corrected']:.4f}"
        table.add_row(row["one"], row["other"], row["figure"], *values)
    out.print(table)
    shown = sum(row["p_corrected"] < 0.05 for row in report["pairs"])
    out.print(
        f"{shown} of {len(report['pairs'])} differences are more than chance at 5%. Of the others these questions"
    )
    out.print("say neither that they are there nor that they are not. The test knows nothing of other seeds.")
    for row in report["fixes"]:
        one, other = len(row["only_one"]), len(row["only_other"])
        out.print(
            f"{row['one']} alone answers {one} exactly, {row['other']} alone {other} (McNemar p {row['mcnemar_p']:.4f})"
        )


def _show_kind(name: str, groups: dict[str, list[dict[str, Any]]], out: Console) -> None:
    first = next(iter(groups.values()))
    if len(first) < 2:
        return
    table = Table(name, "questions", *(f"{system} EM / F1" for system in groups))
    for part in first:
        cells = [next(p for p in parts if p["name"] == part["name"]) for parts in groups.values()]
        table.add_row(part["name"], str(part["questions"]), *(f"{p['exact_match']:.1f} / {p['f1']:.1f}" for p in cells))
    out.print(table)


def _spread(figure: dict[str, Any], form: str = ".2f") -> str:
    if figure["mean"] is None:
        return "–"
    return format(figure["mean"], form) + ("" if figure["std"] is None else f" ± {format(figure['std'], form)}")


def _bounds(figure: dict[str, Any]) -> str:
    return f"{figure['low']:.2f} to {figure['high']:.2f}"


def main() -> int:
    """The exit status: 2 for runs that cannot be compared."""
    parser = argparse.ArgumentParser(prog="python -m qa.compare", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", nargs="+", type=Path, help="folders of finished runs, or of sweeps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, and who alone answers what")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="the tables as a page, with the questions that one alone answers"
    )
    arguments = parser.parse_args()
    try:
        folders = dict.fromkeys(folder for given in arguments.run for folder in finished_jobs(given))
        found = systems([read_run(folder) for folder in folders])
    except UserError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    report = compare(found)
    show(report, console)
    for path in (arguments.json, arguments.html):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    if arguments.json:
        write_text(arguments.json, json.dumps(report, ensure_ascii=False, indent=1))
    if arguments.html:
        write_text(arguments.html, as_page(report, found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
