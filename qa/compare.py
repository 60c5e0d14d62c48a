"""Compares finished runs: is one recipe better than another, or is it chance?

python -m qa.compare RUN|SWEEP … [--baseline RUN] [--json FILE] [--html FILE] [--markdown FILE] [--latex FILE]
"""

from collections.abc import Callable
from pathlib import Path

from qa.console import console
from qa.errors import Flags, door
from qa.review.compare_page import as_page
from qa.review.compare_tables import as_latex, as_markdown, show
from qa.review.comparison import compare
from qa.review.systems import cross_fitted_run, read_run, systems
from qa.storage import write_text
from qa.sweeps.rows import warnings
from qa.sweeps.sweep import Sweep, finished_jobs, is_sweep

# {flag: (its help, the text of a comparison of systems)}
REPORTS: dict[str, tuple[str, Callable[..., str]]] = {
    "json": ("all figures, and who alone answers what", lambda report, _: report.as_json()),
    "html": ("the tables as a page, with the questions that one alone answers", as_page),
    "markdown": ("the tables in Markdown", lambda report, _: as_markdown(report)),
    "latex": ("the tables in LaTeX, with the rules of the package booktabs", lambda report, _: as_latex(report)),
}


def main() -> None:
    """Prints and writes the comparison. Errors: UserError for runs that cannot be compared."""
    parser = Flags("qa.compare", __doc__)
    parser.add_argument("run", nargs="+", type=Path, help="folders of finished runs, or of sweeps")
    parser.add_argument("--baseline", type=Path, metavar="RUN", help="what each other is compared with")
    for kind, (about, _) in REPORTS.items():
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=about)
    arguments = parser.parse_args()
    folders = {folder.resolve(): folder for path in arguments.run for folder in finished_jobs(path)}
    if arguments.baseline:
        folders.setdefault(arguments.baseline.resolve(), arguments.baseline)
    runs = {path: cross_fitted_run(read_run(folder)) for path, folder in folders.items()}
    compared = systems(list(runs.values()))
    against = runs[arguments.baseline.resolve()] if arguments.baseline else None
    baseline = next((system for system in compared if against in system.runs), None)
    sweeps = [Sweep(folder) for folder in arguments.run if is_sweep(folder)]
    report = compare(compared, baseline, [line for each in sweeps for line in warnings(each.rows(), each.monitor)])
    show(report, console)
    for kind, (_, text) in REPORTS.items():
        if path := getattr(arguments, kind):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text(report, compared))


if __name__ == "__main__":
    door(main)
