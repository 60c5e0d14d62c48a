"""Exports a model for ONNX Runtime or OpenVINO, unless its answers get worse by that.

python -m qa.export MODEL --to onnx|openvino [--int8] [--out DIR] [--check FILE]
"""

import math
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from qa.answering.flags import add_column, read_columns
from qa.console import console
from qa.data.demo_corpus import write_demo
from qa.errors import Flags, UserError, door
from qa.hub import model_folder, split_revision

if TYPE_CHECKING:
    from qa.answering.export import Exported

CHANGED_SHOWN = 10  # of the answers that are not the same


def main() -> int:
    """Returns 1, and writes no folder, where EM or F1 fall by more than the tolerance. Errors: UserError."""
    parser = Flags("qa.export", __doc__)
    parser.add_argument("model", help="a folder such as RUN/model, or an id of the hub")
    parser.add_argument("--to", choices=("onnx", "openvino"), required=True)
    parser.add_argument("--int8", action="store_true", help="matrix products of int8: faster, smaller, less exact")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a new folder; default: beside the model")
    parser.add_argument("--check", metavar="FILE", help="questions with their answers; default: the demo's")
    parser.add_argument("--tolerance", type=float, default=0.5, help="points of EM or F1 that may be lost (0.5)")
    add_column(parser)
    arguments = parser.parse_args()
    columns = read_columns(arguments.column)
    if not math.isfinite(arguments.tolerance):
        raise UserError(f"--tolerance {arguments.tolerance}: should be a number of points")
    if arguments.column and not arguments.check:
        raise UserError("--column: names fields of --check; give that, too")
    from qa.answering.check import read_known
    from qa.answering.export import export

    folder = Path(model_folder(arguments.model))
    beside = folder.resolve() if folder.is_dir() else Path(split_revision(arguments.model)[0]).name
    kind = f"{arguments.to}-int8" if arguments.int8 else arguments.to
    out = arguments.out or Path(f"{beside}-{kind}")
    with tempfile.TemporaryDirectory() as demo:
        examples = read_known(arguments.check or str(write_demo(Path(demo))[1]), columns)
    name = Path(arguments.check).name if arguments.check else "the demo"
    exported = export(arguments.model, arguments.to, arguments.int8, out, examples, name, arguments.tolerance)
    show_export(exported)
    if exported.speed:
        console.print(f"{out}: {arguments.to}, {exported.way}, checked with {len(exported.before.questions)} questions")
        return 0
    lost = max(exported.losses.values())
    problem = f"{exported.way}: {lost:.2f} points lost, more than --tolerance {arguments.tolerance:g}"
    other = "try --to openvino --int8" if arguments.int8 and arguments.to == "onnx" else "raise it, or keep the model"
    print(f"ERROR: {problem}; {other}; nothing is written", file=sys.stderr)
    return 1


def show_export(exported: "Exported") -> None:
    """Prints the worth of the export, and the answers that changed."""
    table = Table("", "model", "exported", box=None, header_style="bold")
    for row in exported.rows():
        table.add_row(*row)
    console.print(table)
    for old, new in exported.flipped[:CHANGED_SHOWN]:
        console.print(f"{old.id}: {old.shown_prediction!r} → {new.shown_prediction!r}")
    if len(exported.flipped) > CHANGED_SHOWN:
        console.print(f"… and {len(exported.flipped) - CHANGED_SHOWN} more")


if __name__ == "__main__":
    door(main)
