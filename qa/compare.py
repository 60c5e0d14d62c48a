"""Finished runs against each other: is a difference more than chance?

python -m qa.compare RUN RUN … [--json FILE] [--html FILE]
"""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from qa import UserError
from qa.progress import console
from qa.report import write_text
from qa.systems import FIGURES, compare, read_run, systems


def show(report: dict[str, Any], out: Console) -> None:
    """The tables, for a terminal or a page."""
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
    parser.add_argument("run", nargs="+", type=Path, help="folders of finished runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, and who alone answers what")
    parser.add_argument("--html", type=Path, metavar="FILE", help="the tables as a page")
    arguments = parser.parse_args()
    try:
        report = compare(systems([read_run(folder) for folder in dict.fromkeys(arguments.run)]))
    except UserError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    show(report, console)
    if arguments.json:
        write_text(arguments.json, json.dumps(report, ensure_ascii=False, indent=1))
    if arguments.html:
        page = Console(record=True, width=160, file=io.StringIO())
        show(report, page)
        write_text(arguments.html, page.export_html())
    return 0


if __name__ == "__main__":
    sys.exit(main())
