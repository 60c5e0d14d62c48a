"""Makes the README's pictures from the demo's run (`make demo` first): its validation in a terminal, and its page.

.venv/bin/python docs/pictures.py runs/demo
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


def main(run: Path) -> None:
    """`run`: the folder of the finished demo."""
    words = ["train.py", "experiment=demo", "stage=validate", f"model.pretrained={run}/model"]
    folder = ["hydra.run.dir=runs/pictures", "resume=never"]
    done = subprocess.run(
        [sys.executable, *words, *folder], cwd=HERE.parent, capture_output=True, text=True, check=True
    )
    terminal = Console(record=True, width=110, file=io.StringIO())
    terminal.print(Text(f"$ python {' '.join(words)}\n{done.stdout}"))
    terminal.save_svg(str(HERE / "terminal.svg"), title="the demo's model, validated")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 1000})
        page.goto(f"file://{run.resolve()}/report.html")
        page.screenshot(path=HERE / "report.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
