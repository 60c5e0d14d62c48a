"""Looks at files of questions before a training: what they hold, what is wrong with them; repairs what is safe.

python -m qa.check FILE … [--model MODEL] [--against TRAIN …] [--fix OUT]
"""

import logging
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from qa.answering.flags import add_column, read_columns
from qa.console import console
from qa.data.quality.fixed_file import changes_path, count_others, write_fixed
from qa.data.quality.inspection import findings
from qa.data.quality.mojibake import restored_examples
from qa.data.reading.checked import Examples
from qa.data.reading.examples import check_records, collector_paused, read_examples
from qa.data.reading.files import find_files
from qa.data.reading.records import read_records
from qa.errors import Flags, UserError, door
from qa.hub import check_pretrained
from qa.review.data_report import data_report, in_tokens
from qa.runs.results_table import counted

log = logging.getLogger(__name__)


def main() -> int:
    """Returns 1 where something is wrong with a file. Errors: UserError for one that cannot be read."""
    parser = Flags("qa.check", __doc__)
    parser.add_argument("file", nargs="+", help="questions with their answers, in any kind that training reads")
    parser.add_argument("--model", help="a folder such as RUN/model, or an id of the hub: counts in its tokens, too")
    parser.add_argument("--against", nargs="+", metavar="TRAIN", help="files that FILE should share no texts with")
    parser.add_argument(
        "--fix", type=Path, metavar="OUT", help="a new file of SQuAD JSON: FILE, repaired where it is safe"
    )
    add_column(parser)
    arguments = parser.parse_args()
    for package in ("ftfy", "datasketch"):
        if find_spec(package) is None:
            raise UserError(f"the package {package} is not installed; pip install --no-deps -r requirements.lock")
    columns, files = read_columns(arguments.column), find_files(arguments.file)
    if arguments.fix and len(files) > 1:
        raise UserError(f"--fix: repairs one file, and there are {len(files)}; give one at a time")
    listed = changes_path(arguments.fix) if arguments.fix else None
    training = Examples()
    if arguments.against:
        training = read_examples(arguments.against, "skip", need="nothing", columns=columns)
        if training.bad:
            log.warning("--against: %d records cannot be read, such as %s", len(training.bad), training.bad[0].problem)
    model, is_clean = arguments.model and check_pretrained(arguments.model), True
    for file in files:
        with collector_paused():
            others: Counter[str] = Counter()
            read = check_records(count_others(read_records(file, columns), columns, others), "repair", None, "places")
            if not (read.examples or read.bad):
                raise UserError(f"{file}: no question in it; give a file that holds some")
            restored = restored_examples(read.examples)
            kinds = findings(read, restored, training.examples)
        tokens = in_tokens(read.examples, model)
        kinds += tokens.findings
        written = write_fixed(file, read, restored, arguments.fix) if arguments.fix else None
        console.print(data_report(file, read.examples, kinds, tokens))
        if written:
            words = f"{counted(written[0], 'question')}; {counted(written[1], 'change')}, listed in {listed}"
            if others:
                names = ", ".join(f"{name!r} of {counted(count, 'record')}" for name, count in others.most_common())
                words += f"; fields that are not in it: {names}"
            console.print(f"{arguments.fix}: {words}", soft_wrap=True)
        is_clean = is_clean and not kinds
    return int(not is_clean)


if __name__ == "__main__":
    door(main)
