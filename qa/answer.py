"""Answers questions from texts, with a trained model.

python -m qa.answer MODEL --question "Who built it?" --context-file book.txt
python -m qa.answer MODEL --in asks.jsonl --out answers.jsonl
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from qa.answering.answer import Answer
from qa.answering.flags import add_column, add_options, read_columns, read_options
from qa.console import console
from qa.errors import Flags, UserError, door
from qa.evaluation.answers import NO_ANSWER
from qa.review.terminal import in_context


def main() -> int:
    """Returns 1 where records of `--in` could not be used. Errors: UserError."""
    parser = Flags("qa.answer", __doc__)
    parser.add_argument("model", help="a folder such as RUN/model, or an id of the hub")
    parser.add_argument("--question", action="append", help="may be given several times")
    parser.add_argument("--context", action="append", help="the text; without it and --context-file: standard input")
    parser.add_argument("--context-file", action="append", type=Path, metavar="FILE", help="with the text, in UTF-8")
    parser.add_argument("--in", dest="source", metavar="FILE", help="questions, in any kind that training reads")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a new file, or -: a line of JSON for each record")
    parser.add_argument("--format", choices=("text", "json", "jsonl"), help="of what is printed; default: text")
    add_options(parser)
    parser.add_argument("--max-length", type=int, default=None, help="tokens of a window; default: as in training")
    parser.add_argument("--stride", type=int, default=None, help="tokens that windows share; default: as in training")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 …")
    add_column(parser)
    arguments = parser.parse_args()
    reads = bool(arguments.source)
    others = arguments.context or arguments.context_file or arguments.format if reads else arguments.column
    if reads != bool(arguments.out) or reads == bool(arguments.question) or others:
        ways = "--question with a text, or --in with --out"
        raise UserError(f"give {ways}: --context and --format belong to the one, --column to the other")
    options, columns = read_options(arguments), read_columns(arguments.column)
    from qa.answering.answerer import QuestionAnswerer
    from qa.answering.files import STANDARD_OUTPUT, answer_file, as_json, as_line

    lengths = {"max_length": arguments.max_length, "stride": arguments.stride}
    answerer = QuestionAnswerer.from_pretrained(arguments.model, arguments.device, **lengths)
    if not answerer.engine.trained_head:
        print(f"WARNING: {arguments.model} was not trained on questions: its answers are random", file=sys.stderr)
    if arguments.source:
        counts = answer_file(answerer, arguments.source, arguments.out, options, columns)
        kinds = ["answered", *(kind for kind in ("no answer", "unlike", "bad", "before") if counts[kind])]
        words = ", ".join(f"{counts[kind]} {kind}" for kind in kinds)
        if arguments.out == STANDARD_OUTPUT:
            print(words, file=sys.stderr)
        else:
            console.print(f"{arguments.out}: {words}")
        return int(counts["bad"] > 0)
    texts = [(f"context {number}", text) for number, text in enumerate(arguments.context or [], 1)]
    texts += [(str(path), _text(path)) for path in arguments.context_file or []]
    names, contexts = zip(*(texts or [("", _text(None))]), strict=True)
    answers = [answerer(question, contexts, **options) for question in arguments.question]
    for warning in dict.fromkeys(answer.warning for answer in answers if answer.warning):
        print(f"WARNING: {warning}", file=sys.stderr)
    if arguments.format in (None, "text"):
        show_answers(arguments.question, contexts, answers, names)
        return 0
    lines = [{"question": asked, **as_line(answer)} for asked, answer in zip(arguments.question, answers, strict=True)]
    parts = [as_json(lines, indent=1)] if arguments.format == "json" else map(as_json, lines)
    sys.stdout.buffer.writelines(parts)  # UTF-8, whatever the terminal has
    return 0


def show_answers(questions: list[str], contexts: Sequence[str], answers: list[Answer], names: Sequence[str]) -> None:
    """Prints the answers of questions to one list of contexts; the context's name where there are several."""
    for question, answer in zip(questions, answers, strict=True):
        console.print(Text(f"\nQ  {question}", style="bold"))
        if not answer:
            has_odds = answer.no_answer_probability is not None
            console.print(f"   {NO_ANSWER}" + (f"   (probability {answer.probability:.2f})" if has_odds else ""))
        for part in (*([answer] if answer else []), *answer.alternatives):
            line = Text("   ").append(in_context(contexts[part.context_index], part.start, part.end))
            where = f", {names[part.context_index]}" if len(names) > 1 else ""
            console.print(line.append(f"   (probability {part.probability:.2f}{where})", style="dim"))


def _text(path: Path | None) -> str:
    """The text of a file, or of the standard input."""
    if path is None and sys.stdin.isatty():
        raise UserError("no text; give --context TEXT, --context-file FILE, or send one to the standard input")
    try:
        return (path.read_bytes() if path else sys.stdin.buffer.read()).decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give another") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path or 'standard input'}: byte {error.start} is not UTF-8; convert it") from None


if __name__ == "__main__":
    door(main)
