"""The house: imports go one way, from the data to the training."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from helpers.paths import ROOT

GROUND = {"errors", "storage", "console", "processes", "ranks", "memory", "hub", "internals", "recipe"}
LAYERS = [
    "data",
    "model",
    "evaluation",
    "statistics",
    "answering",
    "serving",
    "runs",
    "config",
    "sweeps",
    "review",
    "tracking",
    "training",
]
APART = {
    ("evaluation", "model"),
    ("statistics", "model"),
    ("sweeps", "model"),
    ("sweeps", "training"),
}
IN_DATA = ["reading", "windows", "epochs", "quality"]  # rooms of data/: each imports those before it and data/'s ground
DATA_GROUND = {"example", "arrays"}
HYDRA = {"hydra", "omegaconf"}
LIGHTNING = {"data", "tracking", "training"}  # data: the DataModule


def imports(path: Path) -> Iterator[str]:
    """What a file imports, wherever in it, but for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    types = {child for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
             for child in ast.walk(node)}  # fmt: skip
    for node in set(ast.walk(tree)) - types:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "qa":
            yield from (f"qa.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def wrong_imports(path: Path) -> Iterator[str]:
    """The imports of a file that its room may not have."""
    parts = path.relative_to(ROOT / "qa").parts[:-1]
    room = parts[0] if parts else ""
    if not room and path.stem not in GROUND:
        return  # a door or the face, which may import anything
    above = LAYERS[LAYERS.index(room) + 1 :] if room else LAYERS
    for name in imports(path):
        first, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if (
            (first == "qa" and (other in above or (room, other) in APART or other not in (*LAYERS, *GROUND)))
            or (first in HYDRA and room != "config")
            or (first == "lightning" and room not in LIGHTNING)
        ):
            yield name
        if parts[:1] == ("data",) and len(parts) > 1 and name.startswith("qa.data."):
            inner = name.split(".")[2]
            if inner not in DATA_GROUND and inner not in IN_DATA[: IN_DATA.index(parts[1]) + 1]:
                yield name


def test_imports_go_one_way() -> None:
    files = sorted((ROOT / "qa").rglob("*.py"))
    assert [f"{path.relative_to(ROOT)}: {name}" for path in files for name in wrong_imports(path)] == []


def public_names(path: Path) -> set[str]:
    """The names that a file defines at its top, without `main`, `log` and private ones; an import defines none."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    names = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    names |= {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    return {name for name in names - {"main", "log"} if not name.startswith("_")}


def test_a_public_name_is_defined_in_one_file_alone() -> None:
    files = Counter(name for path in (ROOT / "qa").rglob("*.py") for name in public_names(path))
    assert [name for name, count in files.items() if count > 1] == []


def test_doors_are_short() -> None:
    doors = [path for path in (ROOT / "qa").glob("*.py") if path.stem not in GROUND | {"__init__"}]
    assert doors
    assert [path.name for path in doors if len(path.read_text(encoding="utf-8").splitlines()) > 100] == []
