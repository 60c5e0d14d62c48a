"""Makes the probabilities of a model's answers mean what they say, with questions and their answers.

python -m qa.calibrate MODEL FILE …
"""

import sys
from pathlib import Path

from qa.answering.flags import add_column, read_columns
from qa.console import console
from qa.data.reading.files import find_files
from qa.errors import Flags, UserError, door
from qa.hub import model_folder
from qa.model.answering import QA_JSON
from qa.review.terminal import plain_table
from qa.review.verdict import estimates, figures_in_words
from qa.runs.identity import is_trained_on
from qa.runs.results_table import TRUST_HEADINGS, trust_rows
from qa.statistics.intervals import clusters
from qa.storage import content_hash


def main() -> None:
    """Writes the model's `qa.json`. Errors: UserError for a model or a file that cannot be used."""
    parser = Flags("qa.calibrate", __doc__)
    parser.add_argument("model", help="a folder such as RUN/model; its qa.json is written")
    parser.add_argument("file", nargs="+", help="questions with their answers that the model was not trained on")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    add_column(parser)
    arguments = parser.parse_args()
    columns = read_columns(arguments.column)
    folder = Path(model_folder(arguments.model))
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one that holds a model, as its qa.json is written")
    from qa.answering.answerer import QuestionAnswerer
    from qa.answering.calibrate import calibrate, texts_rows
    from qa.answering.check import on_new_contexts, read_known
    from qa.answering.promise import promise_rows

    answerer = QuestionAnswerer.from_pretrained(arguments.model, arguments.device)
    contents = [content_hash(path) for path in find_files(arguments.file)]
    examples = on_new_contexts(read_known(arguments.file, columns), folder)
    if is_trained_on({"inputs": {"test": contents}}, "test", answerer.answering.trained or {}):
        print("WARNING: the model was trained on these questions: its probabilities will be too high", file=sys.stderr)
    worth, answering = calibrate(answerer, examples, contents)
    scored = [question for question in worth[1].evaluation.questions if question.f1 is not None]
    console.print(figures_in_words(estimates(scored, clusters(scored)), len(scored)))
    console.print(plain_table(TRUST_HEADINGS, trust_rows(worth[1].calibrated)))
    for table in (texts_rows(worth), promise_rows(answering.error_bounds)):
        headings, *rows = table
        console.print(plain_table(headings, rows))
    try:
        answering.save(folder)
    except OSError as error:
        problem = f"cannot be written ({error.strerror}); give a folder of your own"
        raise UserError(f"{folder / QA_JSON}: {problem}") from None
    languages = "".join(f", {name} {value:.2f}" for name, value in answering.temperature_by_language.items())
    threshold = answering.no_answer_threshold
    refuses = "" if threshold is None else f"; no answer where the null odds are above {threshold:.2f}"
    console.print(f"{folder / QA_JSON}: temperature {answering.temperature:.2f}{languages}{refuses}")


if __name__ == "__main__":
    door(main)
