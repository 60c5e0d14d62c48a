"""The figures of `python -m bench`: stored, compared with later ones, and as a table of BENCHMARKS.md."""

import json
import statistics
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from bench.rows import Pairs
from qa.storage import write_text

ROOT = Path(__file__).parent.parent
STORED, PAGE = ROOT / "bench" / "ratios.json", ROOT / "BENCHMARKS.md"
BEGIN, END = "<!-- written by `make bench` -->\n", "<!-- end -->\n"
SLACK = 0.85  # of the stored spread's lower end, below which a ratio is a loss


class Figures(BaseModel):
    """Medians of both sides, and the ratio of each round: how many times as fast, or as small, ours is."""

    usual: float
    ours: float
    least: float
    ratio: float  # median
    most: float

    @classmethod
    def of(cls, pairs: Pairs) -> "Figures":
        ratios = sorted(usual / ours for usual, ours in pairs)
        usual, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
        return cls(usual=usual, ours=ours, least=ratios[0], ratio=statistics.median(ratios), most=ratios[-1])

    def row(self, name: str) -> str:
        spread = f"{self.least:.2f} to {self.most:.2f}"
        return f"| {name} | {self.usual:.2f} | {self.ours:.2f} | {self.ratio:.2f} ({spread}) |"


Stored = TypeAdapter(dict[str, Figures])


def stored() -> dict[str, Figures]:
    return Stored.validate_json(STORED.read_bytes()) if STORED.exists() else {}


def store(found: dict[str, Figures]) -> None:
    """Puts new figures beside those of the other rows, here and into the page."""
    every = stored() | found
    rounded = {name: {k: round(v, 3) for k, v in figures.model_dump().items()} for name, figures in every.items()}
    write_text(STORED, json.dumps(rounded, indent=1, ensure_ascii=False) + "\n")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    write_text(PAGE, before + BEGIN + as_table(stored()) + END + rest.partition(END)[2])


def as_table(found: dict[str, Figures]) -> str:
    rows = [figures.row(name) for name, figures in found.items()]
    return "\n".join(["| | the usual way | ours | ratio (spread) |", "| --- | --- | --- | --- |", *rows, ""])


def losses(found: dict[str, Figures], before: dict[str, Figures]) -> list[str]:
    """What is wrong with new ratios: a line for each row that is more than 15% below the stored spread."""
    return [
        f"{name}: {found[name].ratio:.2f} times the usual way, stored are {was.least:.2f} to {was.most:.2f}"
        for name, was in before.items()
        if name in found and found[name].ratio < SLACK * was.least
    ]
