"""Saves the W&B view of runs and sweeps.

python -m qa.dashboard [--entity E] [--project P] [--json FILE]
"""

import os
from pathlib import Path

from qa.console import console
from qa.errors import Flags, UserError, door
from qa.internals import view_as_json
from qa.storage import write_text
from qa.tracking.account import why_offline
from qa.tracking.dashboard_view import save, workspace


def main() -> None:
    """Saves the view. Errors: UserError where W&B refuses, or is not reached and no file is asked for."""
    parser = Flags("qa.dashboard", __doc__)
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY", ""), help="user or team; yours if not given")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT", "bert-squad"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the specification of the view there too")
    arguments = parser.parse_args()
    missing = why_offline()
    if missing and not arguments.json:
        raise UserError(f"{missing}, or write the view by --json FILE")
    view = workspace(arguments.entity, arguments.project)
    if arguments.json:
        write_text(arguments.json, view_as_json(view))
        console.print(f"{arguments.json}: the view, as W&B keeps it")
    console.print(f"not saved: {missing}" if missing else save(view))


if __name__ == "__main__":
    door(main)
