"""Numbers that an earlier commit computed: the same to the bit on such a processor, and nearly elsewhere.

    python -m pytest tests/training/test_golden.py tests/model/test_models.py -k golden --golden

writes them anew into tests/golden.json, for a change that is meant to change them.
"""

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

STORED = Path(__file__).parent.parent / "golden.json"


def kind() -> str:
    """What decides on the last bits: the processor, and the libraries that compute on it."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text() if about.exists() else ""
    model = re.findall(r"^(?:vendor_id|cpu family|model)\s*: (.+)$", lines, flags=re.MULTILINE)[:3]
    libraries = [f"{name} {version(name)}" for name in ("torch", "transformers", "numpy")]
    return ", ".join([platform.machine(), *model, torch.backends.cpu.get_cpu_capability(), *libraries])


def check_golden(name: str, values: list[float], config: pytest.Config) -> None:
    """Asserts that values are those stored under a name, or stores them."""
    stored = json.loads(STORED.read_text())
    here = kind()
    if config.getoption("--golden"):
        stored["values"] = {**(stored["values"] if stored["kind"] == here else {}), name: values}
        STORED.write_text(json.dumps({**stored, "kind": here}, indent=1) + "\n")
    elif stored["kind"] == here:
        assert values == stored["values"][name]
    else:
        most = max(map(abs, values))
        assert values == pytest.approx(stored["values"][name], rel=1e-6, abs=1e-6 * most)
