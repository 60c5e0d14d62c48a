"""`--column KEY=NAME`: how the programs that read a file of questions are told its names."""

from collections.abc import Sequence

from qa.data.record import Columns
from qa.errors import Flags, UserError


def add_column(parser: Flags) -> None:
    """Adds the flag, which may be given several times."""
    parser.add_argument(
        "--column", action="append", default=[], metavar="KEY=NAME",
        help=f"the file's name of a field; KEY: {', '.join(Columns.model_fields)}; several times",
    )  # fmt: skip


def read_columns(words: Sequence[str]) -> Columns:
    """The columns that the flags name. Errors: UserError."""
    names: dict[str, str] = {}
    for word in words:
        key, _, name = word.partition("=")
        if not name or key not in Columns.model_fields or key in names:
            keys = ", ".join(Columns.model_fields)
            raise UserError(f"--column {word}: give KEY=NAME, each KEY once; the keys are {keys}")
        names[key] = name
    return Columns.model_validate(names)
