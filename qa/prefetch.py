"""Brings model and data into the hub's cache, for a machine without a network.

    python -m qa.prefetch --model google-bert/bert-base-multilingual-cased --data rajpurkar/squad

Copy the folder HF_HOME (~/.cache/huggingface) to the other machine; `python train.py` finds both there.
"""

from qa.data.reading.files import find_files
from qa.data.reading.records import hub_records
from qa.errors import Flags, door
from qa.hub import fetch


def main() -> None:
    """Fetches model and data. Errors: UserError where something is not available."""
    parser = Flags("qa.prefetch", __doc__)
    parser.add_argument("--model", default="google-bert/bert-base-multilingual-cased", help="hub id (%(default)s)")
    parser.add_argument("--data", default="rajpurkar/squad", help="hub id, or files hf://datasets/… (%(default)s)")
    arguments = parser.parse_args()
    fetch(arguments.model, "model")
    print(f"{arguments.model} is in the cache")
    if arguments.data.startswith("hf://"):
        print(f"{arguments.data}: {len(find_files(arguments.data))} files are in the cache")
        return
    for split in ("train", "validation"):
        count = sum(1 for _ in hub_records(arguments.data, split))
        print(f"{arguments.data}, {split}: {count:,} questions are in the cache")


if __name__ == "__main__":
    door(main)
