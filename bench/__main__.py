"""Speed and memory beside the usual way, that of Hugging Face's example scripts, in turns on the same data.

python -m bench [--only ROW …] [--rounds N] [--model FOLDER] [--check]
"""

import argparse
import os
import tempfile
from pathlib import Path

from bench.rows import MINILM, ROWS, Given, data_folder
from bench.table import Figures, losses, store, stored
from qa.errors import door


def main() -> int:
    """Errors: UserError where data are missing."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=ROWS, default=[*ROWS], metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, default=5, help="of each row (5)")
    parser.add_argument("--model", default=MINILM, metavar="FOLDER", help="a trained model, whose logits are decoded")
    parser.add_argument("--check", action="store_true", help="compares with the stored ratios instead of storing")
    arguments = parser.parse_args()
    data = data_folder()
    os.environ["HF_HUB_OFFLINE"] = "1"
    found: dict[str, Figures] = {}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as folder:
            given = Given(data, Path(folder), arguments.rounds, arguments.model)
            rows = {title: Figures.of(pairs) for title, pairs in ROWS[name](given).items()}
        print(*(figures.row(title) for title, figures in rows.items()), sep="\n", flush=True)
        found |= rows
        if not arguments.check:
            store(rows)  # each at once: the others take minutes
    if not arguments.check:
        return 0
    lost = losses(found, stored())
    print(*(lost or ["no ratio is below those stored"]), sep="\n")
    return 1 if lost else 0


if __name__ == "__main__":
    door(main)
