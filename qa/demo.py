"""Writes the embedded demo corpus.

python -m qa.demo FOLDER
"""

import json
from pathlib import Path

from qa.data.demo_corpus import write_demo
from qa.errors import Flags, UserError, door


def main() -> None:
    """Writes the demo corpus and prints its counts. Errors: UserError for a folder that has such files."""
    parser = Flags("qa.demo", __doc__)
    parser.add_argument("folder", type=Path, help="where train.json and validation.json go")
    parser.add_argument("--seed", type=int, default=42, help="another seed gives another corpus (default: 42)")
    options = parser.parse_args()
    for name in ("train.json", "validation.json"):
        if (options.folder / name).exists():
            raise UserError(f"{options.folder / name}: already exists; give another folder")
    try:
        written = write_demo(options.folder, options.seed)
    except OSError as error:
        raise UserError(f"{options.folder}: cannot be written ({error.strerror}); give another folder") from None
    for path in written:
        data = json.loads(path.read_bytes())["data"]
        questions = sum(len(part["qas"]) for entry in data for part in entry["paragraphs"])
        print(f"{path}: {questions} questions over {len(data)} paragraphs")


if __name__ == "__main__":
    door(main)
