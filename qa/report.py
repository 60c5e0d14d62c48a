"""Writes the page of a finished run or of a sweep again.

python -m qa.report RUN|SWEEP [--monitor FIGURE]
"""

from argparse import ArgumentTypeError
from pathlib import Path

from qa.errors import Flags, UserError, door
from qa.review.report import RunReport
from qa.review.run_page import write_page
from qa.review.sweep_page import write_sweep_page
from qa.runs.folder import RunFolder
from qa.runs.results import check_monitor
from qa.sweeps.sweep import Sweep, is_sweep


def main() -> None:
    """Writes the page. Errors: UserError for a folder that holds neither a finished run nor a sweep."""
    parser = Flags("qa.report", __doc__)
    parser.add_argument("folder", type=Path, help="of a finished run, or of a sweep")
    parser.add_argument(
        "--monitor", type=figure_to_rank, default="val_loss", help="what makes a job of a sweep the best"
    )
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    if is_sweep(folder):
        for line in write_sweep_page(Sweep(folder, arguments.monitor)):
            print(line)
        print(folder / "sweep.html")
    elif (run := RunFolder(folder)).questions.exists():
        write_page(RunReport.read(run))
        print(run.page)
    else:
        raise UserError(f"{folder}: holds neither a finished run nor a sweep; give the folder with its results.json")


def figure_to_rank(name: str) -> str:
    """The name of a figure. Errors: ArgumentTypeError for another word."""
    try:
        return check_monitor(name)
    except ValueError as error:
        raise ArgumentTypeError(f"{name}: should be {error}") from None


if __name__ == "__main__":
    door(main)
