"""The command of this project that does what a command of Hugging Face's `run_qa.py` does.

python -m qa.from_run_qa --model_name_or_path bert-base-cased --do_train --do_eval --learning_rate 3e-5 …
"""

import shlex
import sys

from qa.config.run_qa_command import translate
from qa.config.run_qa_parser import parse
from qa.errors import door


def main() -> int:
    """Prints the command. Errors: UserError for flags that cannot be translated."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print((__doc__ or "").strip())
        return 0
    overrides, notes = translate(parse(words))
    print(" \\\n    ".join(["python train.py", *map(shlex.quote, overrides)]))
    print("\n".join(f"# {note}" for note in notes))
    return 0


if __name__ == "__main__":
    door(main)
