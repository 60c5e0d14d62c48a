"""Makes the README's pictures from the demo's run and a sweep: a validation in a terminal, and the pages of both.

make demo
.venv/bin/python train.py -m experiment=demo data.limit=400 optimizer.lr=1e-4,3e-4,1e-3 seed=1,2 \\
    hydra.sweep.dir=runs/rates
.venv/bin/python docs/pictures.py runs/demo runs/rates
"""

import io
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent


def main(run: Path, sweep: Path) -> None:
    """`run`: the folder of the finished demo."""
    words = ["train.py", "experiment=demo", "stage=validate", f"model.pretrained={run}/model"]
    where = ["hydra.run.dir=runs/pictures", "resume=never"]
    done = subprocess.run([sys.executable, *words, *where], cwd=HERE.parent, capture_output=True, text=True, check=True)
    terminal = Console(record=True, width=110, file=io.StringIO())
    terminal.print(Text(f"$ python {' '.join(words)}\n{done.stdout}"))
    terminal.save_svg(str(HERE / "terminal.svg"), title="the demo's model, validated")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 1000})
        for folder, name in ((run, "report"), (sweep, "sweep")):
            page.goto(f"file://{folder.resolve()}/{name}.html")
            page.screenshot(path=HERE / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
