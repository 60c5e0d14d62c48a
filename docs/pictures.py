"""Makes the README's pictures from the demo's run and a sweep: a terminal, the pages of both, and that of a service.

make demo
.venv/bin/python train.py -m experiment=demo data.limit=1600 optimizer.lr=1e-4,3e-4,1e-3 seed=1,2 \\
    hydra.sweep.dir=runs/rates
.venv/bin/python docs/pictures.py runs/demo runs/rates
"""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent


def main(run: Path, sweep: Path) -> None:
    """`run`: the folder of the finished demo."""
    words = ["train.py", "experiment=demo", "stage=validate", f"model.pretrained={run}/model"]
    where = ["hydra.run.dir=runs/pictures", "resume=never"]
    done = subprocess.run([sys.executable, *words, *where], cwd=HERE.parent, capture_output=True, text=True, check=True)
    terminal = Console(record=True, width=110, file=io.StringIO())
    terminal.print(Text(f"$ python {' '.join(words)}\n{done.stdout.replace(f'{HERE.parent}/', '')}"))
    terminal.save_svg(str(HERE / "terminal.svg"), title="the demo's model, validated")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        for folder, name, height in ((run, "report", 700), (sweep, "sweep", 1000)):
            page.set_viewport_size({"width": 900, "height": height})
            page.goto(f"file://{folder.resolve()}/{name}.html")
            page.screenshot(path=HERE / f"{name}.png")
        ask(browser, run)
        browser.close()


def ask(browser: Browser, run: Path) -> None:
    """The page of a service, wide and on a phone, after a question about a text of the demo's."""
    articles = json.loads((HERE.parent / "cache" / "demo" / "validation.json").read_text())["data"]
    text = articles[17]["paragraphs"][0]["context"]
    command = [sys.executable, "-u", "-m", "qa.serve", f"{run}/model", "--port", "0", "--corrections", "runs/c.jsonl"]
    service = subprocess.Popen(command, cwd=HERE.parent, stdout=subprocess.PIPE, text=True)
    assert service.stdout
    page = browser.new_page(viewport={"width": 1100, "height": 760})
    page.goto(service.stdout.readline().split(" at ")[1].split()[0])
    page.fill("#pasted", text)
    page.click("#add-form button")
    page.fill("#question", "In which town had Michelson made an earlier attempt?")
    page.press("#question", "Enter")
    page.wait_for_selector("mark")
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=HERE / "page.png")
    page.set_viewport_size({"width": 390, "height": 760})
    page.emulate_media(color_scheme="dark")
    page.locator("#answer-section").evaluate("section => section.scrollIntoView()")
    page.screenshot(path=HERE / "page-phone.png")
    service.terminate()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
