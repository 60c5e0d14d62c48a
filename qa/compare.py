"""Compares finished runs: is one recipe better than another, or is it chance?

python -m qa.compare RUN|SWEEP … [--baseline RUN] [--json FILE] [--html FILE]
"""

import json
from pathlib import Path

from qa.console import console
from qa.errors import Flags, door
from qa.review.compare_page import as_page, show
from qa.review.comparison import compare
from qa.review.systems import read_run, systems
from qa.storage import write_text
from qa.sweeps.sweep import finished_jobs


def main() -> None:
    """Errors: UserError for runs that cannot be compared."""
    parser = Flags("qa.compare", __doc__)
    parser.add_argument("run", nargs="+", type=Path, help="folders of finished runs, or of sweeps")
    parser.add_argument("--baseline", type=Path, metavar="RUN", help="what each other is compared with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, and who alone answers what")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="the tables as a page, with the questions that one alone answers"
    )
    arguments = parser.parse_args()
    folders = {folder.resolve(): folder for given in arguments.run for folder in finished_jobs(given)}
    if arguments.baseline:
        folders.setdefault(arguments.baseline.resolve(), arguments.baseline)
    runs = {path: read_run(folder) for path, folder in folders.items()}
    found = systems(list(runs.values()))
    against = runs[arguments.baseline.resolve()] if arguments.baseline else None
    report = compare(found, next((system for system in found if against in system.runs), None))
    show(report, console)
    for path in (arguments.json, arguments.html):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
    if arguments.json:
        write_text(arguments.json, json.dumps(report, ensure_ascii=False, indent=1))
    if arguments.html:
        write_text(arguments.html, as_page(report, found))


if __name__ == "__main__":
    door(main)
