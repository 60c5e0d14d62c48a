"""The tables of a comparison: in a terminal, in Markdown and in LaTeX."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from qa.review.claims import REAL, Difference
from qa.review.comparison import Comparison, SystemFigure
from qa.runs.results_table import counted, markdown_rows
from qa.statistics.breakdown import Part
from qa.statistics.intervals import TOO_FEW, bounds
from qa.statistics.significance import DRAWS

RECIPE = "With other seeds and other questions, by a t-test. p: how often chance alone gives such a difference."
WEIGHTS = (
    "These runs alone, on other questions; other seeds may give another result. p: how often chance alone gives such a"
    f" difference, counted by swapping the answers of both runs for an article or paragraph (in all ways, or {DRAWS:,}"
    " drawn ones; p is at least {p_least:.4f} before it is corrected)."
)
CORRECTED = "p is corrected for the number of pairs (Holm); the intervals are not."
FEW = f"≈: on fewer than {TOO_FEW} contexts, which is too few to rely on."
TEX = {**{sign: f"\\{sign}" for sign in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
TEX |= {"^": r"\textasciicircum{}", "±": r"$\pm$", "≈": r"$\approx$", "–": "--", "<": "$<$", ">": "$>$", "|": "$|$"}


class ComparisonTable(NamedTuple):
    """A table with the notes that belong below it."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def comparison_tables(report: Comparison) -> Iterator[ComparisonTable]:
    """The tables of systems, pairs and kinds of questions."""
    yield _systems(report)
    if report.pairs:
        yield from _pairs(report)
    for name, groups in report.kinds.items():
        if len(next(iter(groups.values()))) > 1:
            yield _kind(name, groups)


def _systems(report: Comparison) -> ComparisonTable:
    rows = []
    for row in report.systems:
        cells = [part for figure in (row.exact_match, row.f1) for part in (spread_of(figure), bounds_of(figure))]
        rows.append([row.name, ", ".join(map(str, row.seeds)), *cells, spread_of(row.question_loss, ".4f")])
    head = ("system", "seeds", "EM", "95%", "F1", "95%", "loss per question")
    return ComparisonTable("Systems", head, rows, report.notes)


def _pairs(report: Comparison) -> Iterator[ComparisonTable]:
    first, recipes, weights = report.pairs[0], [], []
    for pair in report.pairs:
        weights.append([pair.one, pair.other, *_cells(pair.weights), p_of(pair.weights)])
        if pair.recipe:
            p = p_of(pair.recipe) + (" *" if pair.claim.better else "")
            recipes.append([pair.one, pair.other, *_cells(pair.recipe), p, *_cells(pair.secondary)])
    if recipes:
        head = ("one", "other", report.primary, "95%", "p", first.secondary.figure, "95%")
        yield ComparisonTable("Is the recipe better?", head, recipes, [f"{RECIPE} * marks p below {REAL}."])
    notes = [
        WEIGHTS.format(p_least=first.weights.p_least),
        f"Tested: {report.tested}. {report.primary} decides. {CORRECTED}",
    ]
    for fix in report.fixes:
        one, other = counted(len(fix.only_one), "question"), len(fix.only_other)
        notes.append(f"{fix.one} alone answers {one} exactly, {fix.other} alone {other}.")
    yield ComparisonTable("These weights alone", ("one", "other", report.primary, "95%", "p"), weights, notes)


def _cells(apart: Difference) -> tuple[str, str]:
    return f"{apart.difference:+.2f}", bounds_of(apart)


def _kind(name: str, groups: dict[str, list[Part]]) -> ComparisonTable:
    rows, first = [], next(iter(groups.values()))
    for part in first:
        each = [next(p for p in parts if p.name == part.name) for parts in groups.values()]
        rows.append([part.name, str(part.questions), *map(part_of, each)])
    notes = [FEW] if any(part.contexts < TOO_FEW for part in first) else []
    return ComparisonTable(f"By {name}", (name, "questions", *(f"{system} EM / F1" for system in groups)), rows, notes)


def show(report: Comparison, out: Console) -> None:
    """Prints the claim about each pair, and the tables."""
    for place, pair in enumerate(report.pairs):
        out.print(pair.claim.sentence, style="" if place else "bold")
    if report.pairs:
        out.print()
    for title, head, rows, notes in comparison_tables(report):
        table = Table(*head, title=title)
        for row in rows:
            table.add_row(*row, style="dim" if any(cell.startswith("≈") for cell in row) else "")
        out.print(table)
        for note in notes:
            out.print(note)
        out.print()


def as_markdown(report: Comparison) -> str:
    """A comparison as Markdown."""
    parts = [pair.claim.sentence for pair in report.pairs]
    for title, head, rows, notes in comparison_tables(report):
        parts += [f"## {title}", markdown_rows(head, rows), *notes]
    return "\n\n".join(parts) + "\n"


def as_latex(report: Comparison) -> str:
    """A comparison for a paper: `table`s with the rules of the package booktabs; the sentences are comments."""
    parts = [f"% {tex(pair.claim.sentence)}" for pair in report.pairs]
    for title, head, rows, notes in comparison_tables(report):
        lines = [" & ".join(map(tex, row)) + r" \\" for row in (head, *rows)]
        body = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        begin = [r"\begin{table}", f"\\caption{{{tex(title)}}}", f"\\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}"]
        parts.append(
            "\n".join([*begin, *body, r"\end{tabular}", r"\end{table}", *(f"% {tex(note)}" for note in notes)])
        )
    return "\n\n".join(parts) + "\n"


def tex(text: str) -> str:
    """Text for LaTeX, on one line."""
    return "".join(TEX.get(letter, letter) for letter in " ".join(text.split()))


def spread_of(figure: SystemFigure, form: str = ".2f") -> str:
    """The mean ± standard deviation of a figure, as text."""
    if figure.mean is None:
        return "–"
    return format(figure.mean, form) + ("" if figure.std is None else f" ± {format(figure.std, form)}")


def bounds_of(figure: SystemFigure | Difference) -> str:
    return bounds(figure.low, figure.high)


def p_of(test: Difference) -> str:
    """The corrected p-value with two or three digits."""
    p = test.p_corrected
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else format(p, ".3f" if p < 0.1 else ".2f")


def part_of(part: Part) -> str:
    """EM and F1 of a kind of questions, rounded where they are on few contexts."""
    about, form = ("≈ ", ".0f") if part.contexts < TOO_FEW else ("", ".1f")
    return f"{about}{part.exact_match:{form}} / {part.f1:{form}}"
