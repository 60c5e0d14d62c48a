"""Makes the probabilities of a model's answers mean what they say, with questions whose answers are known.

python -m qa.calibrate MODEL FILE …
"""

from pathlib import Path

from qa.answering.answerer import QuestionAnswerer
from qa.answering.check import calibrate, read_known
from qa.answering.columns import add_column, read_columns
from qa.console import console
from qa.errors import Flags, UserError, door
from qa.model.answering import NAME
from qa.review.terminal import trust_table
from qa.review.verdict import figures


def main() -> None:
    """Errors: UserError for a model or a file that cannot be used."""
    parser = Flags("qa.calibrate", __doc__)
    parser.add_argument("model", help="a folder such as RUN/model; its qa.json is written")
    parser.add_argument("file", nargs="+", help="questions with their answers that the model was not trained on")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    add_column(parser)
    arguments = parser.parse_args()
    columns = read_columns(arguments.column)
    folder = Path(arguments.model)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one that holds a model, as its qa.json is written")
    answerer = QuestionAnswerer.from_pretrained(arguments.model, arguments.device)
    found, worth, answering = calibrate(answerer, read_known(arguments.file, columns))
    console.print(figures(found.questions))
    console.print(trust_table(worth))
    try:
        answering.save(folder)
    except OSError as error:
        raise UserError(f"{folder / NAME}: cannot be written ({error.strerror}); give a folder of your own") from None
    languages = "".join(f", {name} {value:.2f}" for name, value in worth.temperature_by_language.items())
    console.print(f"{folder / NAME}: temperature {worth.temperature:.2f}{languages}")


if __name__ == "__main__":
    door(main)
