"""The page of a sweep and the page of a comparison, in a real browser."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from helpers.browser import phone
from helpers.finished_runs import finished_run
from qa.compare import main
from qa.review.charts import as_svg, colors, parallel
from qa.review.compare_page import as_page
from qa.review.comparison import compare
from qa.review.sweep_page import write_sweep_page
from qa.review.systems import read_run, systems
from qa.sweeps.engines import Job
from qa.sweeps.rows import SweepRow
from qa.sweeps.sweep import Sweep, finished_jobs

EVIL = "<img src=x onerror=\"document.title='taken'\">"


def job(sweep: Sweep, number: int, rate: float, seed: int, rights: list[float]) -> None:
    """A finished job of a sweep."""
    folder = finished_run(sweep.folder / str(number), rights, seed=seed, lr=rate, said=f"at {rate}")
    again = [f"optimizer.lr={rate}", f"seed={seed}"]
    row = sweep._began(Job(number, {"optimizer.lr": rate, "seed": seed}, folder, again))
    best = read_run(folder).results.best
    assert best is not None
    figures = {"val_loss": best.val_loss, "exact_match": best.exact_match, "f1": best.f1, "epoch": 1.0, "minutes": 12.5}
    sweep._put(row.model_copy(update={"status": "finished", **figures}))


def written(sweep: Sweep) -> Path:
    write_sweep_page(sweep)
    return sweep.folder / "sweep.html"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Two rates with two seeds each; a job that failed."""
    sweep = Sweep(tmp_path_factory.mktemp("sweep") / "rates")
    for number, (rate, seed) in enumerate([(1e-5, 1), (1e-5, 2), (2e-5, 1), (2e-5, 2)]):
        job(sweep, number, rate, seed, [1.0, 1.0, float(number > 1), 0.0] * 6)
    row = sweep._began(Job(4, {"optimizer.lr": EVIL, "seed": 1}, sweep.folder / "4", []))
    sweep._put(row.model_copy(update={"status": "failed", "error": f"no rate: {EVIL}"}))
    return sweep


@pytest.fixture
def page() -> Iterator[Page]:
    with phone() as opened:
        yield opened


def test_a_sweep_is_sorted_and_each_job_found_in_the_charts(sweep: Sweep, page: Page) -> None:
    page.goto(f"file://{written(sweep)}")
    rows = page.locator("#jobs tbody tr")
    assert rows.count() == 5
    assert page.locator("tr.best td").first.inner_text() == "optimizer.lr=1e-05 ← best"  # the setting, not a job
    assert [row.get_attribute("data-job") for row in page.locator("#jobs tr.best").all()] == ["0", "1"]
    for button, first, last in (("EM", "0", "4"), ("EM", "3", "4"), ("error", "4", "3")):
        page.get_by_role("button", name=button, exact=True).click()
        shown = [row.get_attribute("data-job") for row in rows.all()]
        assert shown[0] in ({"0", "1"} if first == "0" else {"2", "3"} if first == "3" else {"4"})
        assert last == "3" or shown[-1] == last  # without a figure it comes last, either way
    page.locator('tr[data-job="2"]').hover()
    assert page.locator("svg.lit").count() == page.locator("svg").count() == 4
    assert page.locator("svg .lit").count() == page.locator('[id="line-2"]').count() == 4  # all else is faint
    assert re.search(r"75\.00\n5\d\.\d\d to 8\d\.\d\d", page.locator('tr[data-job="2"]').inner_text())
    assert page.locator('tr[data-job="3"] a').get_attribute("href") == "./3/report.html"


def test_a_sweep_says_what_seeds_do_and_keeps_to_its_width(sweep: Sweep, page: Page) -> None:
    page.goto(f"file://{written(sweep)}")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.title().endswith("– sweep")
    assert page.locator("img").count() == 0
    text = page.inner_text("body")
    for words in (
        "optimizer.lr=2e-05\t75.00 ± 0.00\n", f"no rate: {EVIL}", f"python -m qa.compare {sweep.folder}",
        "24 questions, the same in each job, on 12 paragraphs.", "used to choose the best epoch and setting",
    ):  # fmt: skip
        assert words in text


def test_the_head_of_a_sweep_is_what_its_jobs_share(sweep: Sweep, page: Page) -> None:
    for number in range(4):
        path = sweep.folder / str(number) / "results.json"
        results = json.loads(path.read_text())
        results["about"] = {
            "model": "minilm",
            "command": f"python train.py data=local 'data.train_file=a b' seed={number} hydra.run.dir={number}",
            "finished": f"2026-11-30 12:0{number}, on 1 x cpu",
            "versions": "torch 2.12" if number else "torch 2.13",
        }
        results["identity"]["code"] = "abc123"
        path.write_text(json.dumps(results))
    page.goto(f"file://{written(sweep)}")
    assert page.inner_text("dl").split("\n") == [
        "model", "minilm",
        "command", "python train.py data=local 'data.train_file=a b', and each job's settings",
        "finished", "2026-11-30 12:03, on 1 x cpu",
        "versions", "torch 2.13; torch 2.12",
        "commit", "abc123",
    ]  # fmt: skip


def test_seeds_of_a_setting_have_one_colour_and_settings_have_others(sweep: Sweep) -> None:
    shades = re.findall(r'data-job="\d"[^>]*>\n<td[^>]*><i style="background: ([^"]*)"', written(sweep).read_text())
    assert shades[0] == shades[1] != shades[2] == shades[3]
    for count in (2, 7, 8, 40):
        names = [str(number) for number in range(count)]
        assert len({*colors(dict(zip(names, names, strict=True))).values()}) == count


def test_the_table_of_a_finished_sweep_has_intervals(sweep: Sweep) -> None:
    write_sweep_page(sweep)
    text = (sweep.folder / "sweep.md").read_text()
    assert "mean ± standard deviation over seeds (95% interval), the best first" in text
    assert re.search(
        r"\| optimizer.lr=2e-05 \| 1, 2 \| [\d.]+ ± [\d.]+ \| 75.00 ± 0.00 \(\d\d.\d\d to \d\d.\d\d\) \|", text
    )


def test_jobs_on_other_questions_are_not_compared(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    for number, count in enumerate((40, 10)):
        job(sweep, number, 1e-5 * (number + 1), 1, [1.0] * count)
    (line,) = write_sweep_page(sweep)
    assert line.startswith("WARNING: the jobs have 10 to 40 questions, of which 10 are in all: do not compare them")
    assert line in (tmp_path / "sweep.html").read_text()


def test_a_link_leads_to_the_jobs_folder_whatever_its_name(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    job(sweep, 0, 1e-5, 1, [1.0])
    (tmp_path / "0").rename(tmp_path / "javascript:alert(1)#?%2")
    sweep._put(sweep.rows()[0].model_copy(update={"folder": "javascript:alert(1)#?%2"}))
    assert 'href="./javascript%3Aalert%281%29%23%3F%252/report.html"' in written(sweep).read_text()


def test_a_setting_is_drawn_as_it_is_written() -> None:
    """What matplotlib would take for a formula, whole or broken."""
    lines = {str(number): {"$x_{$": text, "EM": 1.0} for number, text in enumerate(("$x_{$", "$a$"))}
    assert as_svg(parallel(lines, colors({name: name for name in lines}))).count("$x_{$") == 2


def test_a_comparison_shows_what_one_system_alone_answers(sweep: Sweep, page: Page, tmp_path: Path) -> None:
    found = systems([read_run(folder) for folder in finished_jobs(sweep.folder)])
    (tmp_path / "compare.html").write_text(as_page(compare(found), found))
    page.goto(f"file://{tmp_path}/compare.html")
    assert page.locator("h1").inner_text() == "optimizer.lr=1e-05 · optimizer.lr=2e-05"
    page.locator("summary", has_text="only optimizer.lr=2e-05").click()
    said = page.locator("details[open] tr").nth(1).inner_text().split("\t")
    assert said == ["What is q0002?", "grey", "at 2e-05", "at 1e-05"]
    assert "+25.00" in page.inner_text("body")
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_comparison_of_a_sweep_warns_of_seeds_that_failed(
    sweep: Sweep, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = f"WARNING: optimizer.lr={EVIL}: figures of 0 of 1 seeds (1 failed); it has no rank."
    page, data = sweep.folder / "c.html", sweep.folder / "c.json"
    monkeypatch.setattr(sys, "argv", ["qa.compare", str(sweep.folder), f"--html={page}", f"--json={data}"])
    main()
    assert warning in capsys.readouterr().out.replace("\n", " ")
    assert warning in json.loads(data.read_text())["notes"]
    assert '<p class="warning">WARNING: optimizer.lr=' in page.read_text()


def test_figures_of_a_row_are_not_known_before_its_end(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep._began(Job(0, {"seed": 1}, tmp_path / "0", []))
    page = written(sweep).read_text()
    assert sweep.rows() == [SweepRow(job=0, settings={"seed": 1}, folder="0", arguments=[])]
    assert "started" in page and "<svg" not in page
