"""The lock holds what the tests run with: all packages that the pinned ones need, in the versions that are here."""

from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from helpers.paths import ROOT

ELSEWHERE = ("nvidia-", "cuda-", "triton", "setuptools")  # torch pins the first, Python's venv brings the last


def pinned(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): number for package, number in pairs}


def test_the_lock_has_every_package_in_the_version_that_is_tested() -> None:
    lock = pinned("requirements.lock")
    wanted = pinned("requirements.txt") | pinned("requirements-export.txt") | pinned("requirements-serve.txt")
    assert wanted.items() <= lock.items()
    todo, needed = list(wanted), set(wanted)
    while todo:
        for line in requires(todo.pop()) or []:
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            here = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if here and name not in needed and not name.startswith(ELSEWHERE):
                needed.add(name)
                todo.append(name)
    assert needed <= lock.keys()
    for package, number in lock.items():
        try:
            assert version(package).partition("+")[0] == number, package
        except PackageNotFoundError:
            assert package not in needed, package
