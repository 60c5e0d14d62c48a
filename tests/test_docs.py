"""What README.md and docs/ say is there: commands compose, links lead somewhere, tests and files have these names."""

import ast
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import train  # noqa: F401  registers the resolvers
from helpers.paths import ROOT
from qa.config.settings import check_settings
from qa.config.targets import check_values
from qa.data.reading.shapes import SHAPES
from qa.runs.folder import RunFolder

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS = ("data", "model", "optimizer", "scheduler", "trainer", "callbacks")
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


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[:60] or "recipe")
def test_every_command_of_the_docs_composes_and_its_values_are_valid(command: str, tmp_path: Path) -> None:
    words = shlex.split(command, comments=True)
    sweep = "-m" in words
    words = [word for word in words if word not in ("-m", "--help", "--cfg", "job")]
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        overrides = first_values(words) if sweep else words
        cfg = compose("config", [*overrides, f"data.cache_dir={tmp_path}"], return_hydra_config=True)
    cfg.hydra.runtime.output_dir = str(tmp_path)
    HydraConfig.instance().set_config(cfg)
    config: Any = OmegaConf.to_container(
        OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]), resolve=True
    )
    check_settings(config)
    check_values({name: config[name] for name in GROUPS})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXT[page]):
        if link.startswith("http"):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        titles = re.findall(r"^#+ (.+)$", TEXT.get(target, ""), flags=re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
        if not target.exists() or (heading and heading not in anchors):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_door_and_target_that_a_page_names_is_there(page: Path) -> None:
    files = re.findall(r"`((?:qa|tests|conf|docs|bench|hydra_plugins)/[\w./]+)`", TEXT[page])
    assert [name for name in files if not (ROOT / name).exists() and name != "conf/model/NAME.yaml"] == []
    modules = [name for name in re.findall(r"python -m ((?:qa|bench)\.\w+)", TEXT[page]) if name != "qa.NAME"]
    assert [name for name in modules if not (ROOT / f"{name.replace('.', '/')}.py").exists()] == []
    targets = re.findall(r"(?:^|`)make ([a-z-]+)", TEXT[page], flags=re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [name for name in targets if f"\n{name}:" not in makefile] == []


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


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_setting_has_a_comment(path: Path) -> None:
    shown = runpy.run_path(str(ROOT / "docs" / "settings.py"))["shown"]
    assert [setting.key for setting in shown(path) if not setting.comment] == []
