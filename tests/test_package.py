"""The package that `pip install .` makes: what the face promises works away from the checkout."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers.paths import ROOT
from helpers.questions import write_bridges

pytestmark = pytest.mark.slow


def python(code: str, folder: Path) -> str:
    """What a Python that sees `folder` and no checkout prints."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_an_installed_package_has_the_face_and_its_templates(tmp_path: Path) -> None:
    source = tmp_path / "source"  # what building leaves behind is not for the checkout
    shutil.copytree(ROOT / "qa", source / "qa")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*pip, str(tmp_path), str(source)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"qa"}
    heavy = "sorted({'torch', 'lightning', 'hydra', 'transformers'} & set(sys.modules))"
    assert python(f"import qa; print({heavy}, qa.__file__)", installed) == f"[] {installed}/qa/__init__.py"
    assert python(f"from qa import Example, UserError; print({heavy})", installed) == "[]"
    code = "from qa import SquadMetric; m = SquadMetric(); m.update({'a': 'x'}, {'a': ['x']})\n"
    code += "print(m.compute()['f1'].item())"
    assert python(code, installed) == "100.0"
    assert python("from qa.data.demo_corpus import demo_paragraphs; print(len(demo_paragraphs()))", installed) == "300"
    assert python("from qa.review.run_page import templates; print(templates().list_templates())", installed) == str(
        sorted(path.name for path in (ROOT / "qa" / "review" / "templates").iterdir())
    )


def test_every_name_of_the_face_is_there(tmp_path: Path) -> None:
    code = "import qa; print(len([getattr(qa, name) for name in dir(qa)]) == len(qa.WHERE) > 10)"
    assert python(f"sys.path.insert(0, {str(ROOT)!r}); {code}", tmp_path) == "True"


def test_a_wrong_value_is_refused_before_torch_is_imported(tmp_path: Path) -> None:
    """Nobody should wait for an import to be told of a typing error."""
    write_bridges(tmp_path, train=2, validation=2)
    words = ["data=local", f"data.train_file={tmp_path}/train.json", f"data.validation_file={tmp_path}/validation.json"]
    command = [sys.executable, "-X", "importtime", "train.py", *words, "data.batch_size=abc"]
    done = subprocess.run(
        [*command, f"hydra.run.dir={tmp_path}/run"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode == 2 and "data.batch_size=abc" in done.stderr
    assert "hydra" in imported and not {"torch", "lightning", "transformers"} & imported
