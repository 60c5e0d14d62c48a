"""The table of a run's evaluations, as text and as Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from qa.errors import printable
from qa.runs.results import V2_FIGURES, EvaluatedPart, Monitor, Results, Row, monitor_in_words
from qa.statistics.calibration import Calibrated

HEADINGS = ("Epoch", "Step", "Training Loss", "Validation Loss", "EM", "F1")
V2_HEADINGS = ("Epoch", "HasAns EM", "HasAns F1", "NoAns EM", "NoAns F1", "Best EM", "at", "Best F1", "at")
V2_NOTE = "HasAns: questions with an answer. Best: at the threshold at which the official script is best here."

LANGUAGE_HEADINGS = ("Language", "EM", "F1", "MLQA EM", "MLQA F1", "Questions")
LANGUAGE_NOTE = (
    "EM and F1 are SQuAD's official ones, whose rules are those of English. MLQA: by the rules of the language, its"
    " articles and punctuation; Chinese and other scripts without spaces count by character."
)

TRUST_HEADINGS = ("Probabilities", "Softmax", "Calibrated")
TRUST = {
    "ece": ("Expected calibration error", ".3f"),
    "ece_chance": ("by chance alone up to", ".3f"),
    "macro_ce": ("MacroCE", ".3f"),
    "brier": ("Brier score", ".3f"),
    "auroc": ("AUROC", ".3f"),
    "aurc": ("AURC", ".3f"),
    "coverage_80": ("Answered, if 80% must be right", ".1%"),
    "coverage_90": ("Answered, if 90% must be right", ".1%"),
}

TRUST_NOTE = (
    "Softmax: over a question's candidates. Calibrated: the probability of an answer, where equal candidates add up and"
    " scores are divided by a temperature. AUROC: how often a right answer is more probable than a wrong one. MacroCE:"
    " the calibration error, with equal weight for right answers and for wrong ones. AURC: the share of wrong answers"
    " among the surest, on average over how many are answered. Higher is better for AUROC and for what is answered,"
    " lower for all others. What is answered is the largest share on these very questions, so it is a little too good."
)


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 question", "2,000 questions"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_row(row: Row) -> list[str]:
    """A row's figures as texts, in the order of HEADINGS."""
    formats = (".1f", "d", ".4f", ".4f", ".2f", ".2f")
    values = (row.epoch and float(row.epoch), row.step, row.train_loss, row.val_loss, row.exact_match, row.f1)
    return ["–" if value is None else format(value, form) for value, form in zip(values, formats, strict=True)]


def row_in_words(row: Row) -> str:
    """A row in words: "epoch 2.0, step 326: training loss 0.6063, validation loss 0.4922, EM 84.00, F1 86.73"."""
    epoch, step, *figures = format_row(row)
    names = ("training loss", "validation loss", "EM", "F1")
    words = [f"{name} {figure}" for name, figure in zip(names, figures, strict=True) if figure != "–"]
    return f"epoch {epoch}, step {step}: {', '.join(words)}"


def format_v2_row(row: Row) -> list[str]:
    """The figures of a row that only SQuAD v2 has, in the order of V2_HEADINGS."""
    values = [getattr(row, name) for name in V2_FIGURES]
    return [format_row(row)[0], *("–" if value is None else format(value, ".2f") for value in values)]


def best_mark(monitor: Monitor | None) -> str:
    """The mark beside the best row."""
    return f"← best by {monitor_in_words(monitor)}" if monitor else "← best"


def markdown_rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of a Markdown table, without a line end after the last."""
    return "\n".join("| " + " | ".join(map(cell, row)) + " |" for row in (head, ["---"] * len(head), *rows))


def markdown_table(rows: Sequence[Row], part: EvaluatedPart | None = None) -> str:
    """The table as Markdown, without a line end, and one of the figures that only SQuAD v2 has."""
    parts = [markdown_rows(HEADINGS, map(format_row, rows))]
    if v2_rows := [row for row in rows if row.is_v2]:
        parts += [markdown_rows(V2_HEADINGS, map(format_v2_row, v2_rows)), V2_NOTE]
    return "\n\n".join([*parts, *filter(None, [part.note() if part else ""])])


def language_rows(results: Results) -> list[list[str]]:
    """The figures of each language and, of several, their mean, in the order of LANGUAGE_HEADINGS.

    None where all questions are English: the figures of the run are theirs.
    """
    english, evaluated = results.by_language.get("en"), results.evaluated
    if english and len(results.by_language) == 1 and not (evaluated and evaluated.questions > english.questions):
        return []
    rows = {**results.by_language, **({"mean": results.language_mean} if results.language_mean else {})}
    metrics = "exact_match", "f1", "mlqa_exact_match", "mlqa_f1"
    return [
        [name, *(f"{getattr(row, metric):.2f}" for metric in metrics), f"{row.questions:,}"]
        for name, row in rows.items()
    ]


def markdown_language_table(results: Results) -> str:
    """The table of languages as Markdown with its note, without a line end; empty where there are no rows."""
    rows = language_rows(results)
    return f"{markdown_rows(LANGUAGE_HEADINGS, rows)}\n\n{LANGUAGE_NOTE}" if rows else ""


def trust_rows(calibration: Calibrated) -> list[list[str]]:
    """The worth of probabilities, in the order of TRUST_HEADINGS."""
    rows = []
    for field, (name, form) in TRUST.items():
        values = [getattr(part, field) for part in (calibration.before, calibration.after)]
        rows.append([name, *("–" if value is None else format(value, form) for value in values)])
    return rows


def cell(text: Any) -> str:
    """Text as one cell of a Markdown table."""
    return printable(" ".join(str(text).split())).replace("|", "\\|")
