"""Brings model and data into the hub's cache, for a machine without a network.

    python -m qa.prefetch --model google-bert/bert-base-multilingual-cased --data rajpurkar/squad

Copy the folder HF_HOME (~/.cache/huggingface) to the other machine; `python train.py` finds both there.
"""

import argparse
import sys

from qa import UserError
from qa.hub import fetch, hub_records


def main() -> int:
    """The exit status: 2 where something is not to be had."""
    parser = argparse.ArgumentParser(prog="python -m qa.prefetch", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="google-bert/bert-base-multilingual-cased", help="hub id (%(default)s)")
    parser.add_argument("--data", default="rajpurkar/squad", help="hub id (%(default)s)")
    arguments = parser.parse_args()
    try:
        fetch(arguments.model, "model")
        print(f"{arguments.model} is in the cache")
        for split in ("train", "validation"):
            count = sum(1 for _ in hub_records(arguments.data, split))
            print(f"{arguments.data}, {split}: {count:,} questions are in the cache")
    except UserError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
