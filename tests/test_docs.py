"""What texts say is there: commands compose, links lead somewhere; paths, names, make targets and tests exist."""

import ast
import re
import runpy
import shlex
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from helpers.configs import GROUPS, composed
from helpers.paths import ROOT
from qa import WHERE
from qa.config.settings import check_settings
from qa.config.targets import check_values
from qa.data.reading.shapes import SHAPES
from qa.errors import UserError
from qa.runs.folder import RunFolder

PAGES = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "BENCHMARKS")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
PROGRAMS = [path for name in ("qa", "bench", "hydra_plugins", "docs") for path in (ROOT / name).rglob("*.py")]
OTHERS = [ROOT / name for name in ("train.py", "Makefile", "Dockerfile", "slurm.sbatch", "pyproject.toml")]
COMMAND = re.compile(r"(?:python|torchrun [^`\n]*?) train\.py\b([^`\n]*)")
TEXT = {page: page.read_text(encoding="utf-8").replace("\\\n", " ") for page in PAGES}
COMMANDS = sorted({found.strip() for text in TEXT.values() for found in COMMAND.findall(text) if "…" not in found})


def first_values(words: list[str]) -> list[str]:
    """Overrides with one value each: of a sweep's the first."""
    parsed = OverridesParser.create().parse_overrides(words)
    return [
        f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
        if override.is_sweep_override()
        else str(override.input_line)
        for override in parsed
    ]


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 40
    assert any(command.startswith("-m") for command in COMMANDS)


def test_every_command_of_the_docs_composes_and_its_values_are_valid(tmp_path: Path) -> None:
    wrong = {}
    for command in COMMANDS:
        words = shlex.split(command, comments=True)
        settings = [word for word in words if word not in ("-m", "--help", "--cfg", "job")]
        try:
            _, config = composed(*(first_values(settings) if "-m" in words else settings), tmp_path=tmp_path)
            check_settings(config)
            check_values({name: config[name] for name in GROUPS})
        except (UserError, HydraException, OmegaConfBaseException) as error:
            wrong[command] = str(error)
    assert wrong == {}


def test_every_link_leads_to_a_file_and_a_heading() -> None:
    wrong = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", TEXT[page]):
            if link.startswith("http"):
                continue
            name, _, heading = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            titles = re.findall(r"^#+ (.+)$", TEXT.get(target, ""), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            if not target.exists() or (heading and heading not in anchors):
                wrong.append(f"{page.name}: {link}")
    assert wrong == []


def test_every_path_name_and_target_that_a_text_names_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    wrong = []
    for path in (*PAGES, *PROGRAMS, *OTHERS, *(ROOT / "conf").rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        paths = re.findall(r"(?<![\w/.-])((?:qa|tests|conf|docs|bench|hydra_plugins)/[\w./-]*\w)", text)
        names = re.findall(r"`(qa(?:\.\w+)+)`", text) + re.findall(r"python -m ((?:qa|bench)\.\w+)", text)
        targets = re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.MULTILINE)
        missing = [name for name in paths if not (ROOT / name).exists() and "NAME" not in name]
        missing += [name for name in names if not is_there(name) and not re.fullmatch(r"qa\.(json.*|NAME)", name)]
        missing += [f"make {name}" for name in targets if f"\n{name}:" not in makefile]
        wrong += [f"{path.relative_to(ROOT)}: {name}" for name in missing]
    assert wrong == []


def is_there(name: str) -> bool:
    """Whether a dotted name is a file or a folder, a name in a file, or one of the face."""
    root, *parts = name.split(".")
    for count in range(len(parts), 0, -1):
        base = ROOT.joinpath(root, *parts[:count])
        if base.is_dir() and count == len(parts):
            return True
        if (file := base.with_suffix(".py")).exists():
            rest = "".join(parts[count : count + 1])
            return re.search(rf"(def |class |^){rest}\b", file.read_text(encoding="utf-8"), re.MULTILINE) is not None
    return parts[0] in WHERE


def test_every_test_that_a_page_names_is_there() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)(…?)`", "\n".join(TEXT.values()))
    assert len(named) > 20
    assert [name for name, cut in named if f"def {name}" + ("" if cut else "(") not in tests] == []


def test_the_page_of_guarantees_has_them_all() -> None:
    sources = [ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "tests").rglob("test_*.py")]
    marks = [node for source in sources for node in ast.walk(source) if isinstance(node, ast.Call)]
    texts = {ast.literal_eval(mark.args[0]) for mark in marks if ast.unparse(mark.func) == "pytest.mark.guarantee"}
    assert len(texts) > 30
    page = TEXT[ROOT / "docs" / "guarantees.md"]
    assert [text for text in sorted(texts) if f"| {text} |" not in page] == [], "run `make prove`"


def test_the_page_of_data_has_every_shape() -> None:
    page = TEXT[ROOT / "docs" / "data.md"]
    rows = [f"| {shape.name} | {shape.example} |" for shape in SHAPES]
    assert [row for row in rows if row not in page] == []


def test_the_readme_lists_what_a_run_leaves() -> None:
    section = TEXT[ROOT / "README.md"].partition("## What a run leaves")[2].partition("\n## ")[0]
    assert [path.name for path in RunFolder(Path()).contents if path.name not in section] == []


def test_the_architecture_has_every_folder_and_door() -> None:
    page = TEXT[ROOT / "docs" / "architecture.md"]
    folders = [path.parent.name for path in (ROOT / "qa").glob("*/__init__.py")]
    assert [name for name in folders if f"── {name}/" not in page] == []
    doors = [path.name for path in (ROOT / "qa").glob("*.py") if "__main__" in path.read_text(encoding="utf-8")]
    assert [name for name in doors if f"`qa/{name}`" not in page] == []


def test_the_page_of_settings_is_what_conf_says() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "settings.py"))
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == script["as_markdown"](), "run `python docs/settings.py`"


def test_every_setting_has_a_comment() -> None:
    shown = runpy.run_path(str(ROOT / "docs" / "settings.py"))["shown"]
    settings = [(path.name, setting) for path in (ROOT / "conf").rglob("*.yaml") for setting in shown(path)]
    assert [(name, setting.key) for name, setting in settings if not setting.comment] == []
