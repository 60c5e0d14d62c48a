"""F1 where question and text are in two languages, on XQuAD: python -m bench.two_languages MODEL [--questions N]

A row for the language of the questions, a column for that of the texts; answers are in the text's language and scored
by the official form and, in brackets, by the rules of that language. Each figure has half of its 95% interval.
"""

import argparse
import sys
from statistics import fmean

import numpy as np

from bench.rows import data_folder
from qa.answering.answerer import QuestionAnswerer
from qa.console import track
from qa.data.example import Example
from qa.data.reading.examples import read_examples
from qa.errors import door
from qa.evaluation.answers import score_question
from qa.evaluation.metrics import scores
from qa.statistics.intervals import clusters, proportion

LANGUAGES = ("en", "de", "es", "zh", "ar")


def pairs(asked: str, told: str) -> list[Example]:
    """XQuAD's questions in the language `asked`, with their contexts and answers in the language `told`."""
    questions, texts = (
        read_examples(str(data_folder() / f"xquad.{language}.json")).examples for language in (asked, told)
    )
    return [text.model_copy(update={"question": q.question}) for q, text in zip(questions, texts, strict=True)]


def cell(answerer: QuestionAnswerer, examples: list[Example]) -> str:
    """F1 of a pair of languages in words."""
    answers = answerer([e.question for e in examples], [e.context for e in examples], batch_size=32)
    scored = [score_question(e, None, answer.text) for e, answer in zip(examples, answers, strict=True)]
    interval = proportion(np.array([[q.f1 for q in scored]], float), clusters(scored))
    half = 50 * (interval.high - interval.low) if interval.high is not None and interval.low is not None else 0
    own = fmean(scores(q.prediction, q.answers, str(e.language))[1] for q, e in zip(scored, examples, strict=True))
    return f"{100 * interval.mean:.1f} ± {half:.1f} ({100 * own:.1f})"


def main() -> int:
    """Errors: UserError for a model or data that cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.two_languages", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("model", help="the folder of a trained multilingual model")
    parser.add_argument("--questions", type=int, default=1190, help="of each pair, spread over all texts (1190)")
    arguments = parser.parse_args()
    answerer = QuestionAnswerer.from_pretrained(arguments.model)
    wanted = [(asked, told) for asked in LANGUAGES for told in LANGUAGES if "en" in (asked, told) or asked == told]
    cells = {}
    for asked, told in track(wanted, "answering", total=len(wanted)):
        examples = pairs(asked, told)
        rows = np.linspace(0, len(examples) - 1, min(arguments.questions, len(examples))).astype(int)
        cells[asked, told] = cell(answerer, [examples[row] for row in rows])
    print("| questions in | " + " | ".join(f"texts in {told}" for told in LANGUAGES) + " |")
    print("| --- |" + " --- |" * len(LANGUAGES))
    for asked in LANGUAGES:
        print(f"| {asked} | " + " | ".join(cells.get((asked, told), "–") for told in LANGUAGES) + " |")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    door(main)
