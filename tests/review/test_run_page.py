"""The page of a run, in a real browser; what it says of intervals, probabilities and kinds of questions."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from helpers.browser import phone
from helpers.questions import question
from qa.data.reading.overlap import Overlap
from qa.review import report as report_module
from qa.review.charts import as_svg, curves, together
from qa.review.report import RunReport
from qa.review.run_page import try_page, write_page
from qa.runs.folder import RunFolder
from qa.runs.results import PerSplit, Results, Row
from qa.statistics.breakdown import KINDS, Part, breakdown, kinds, question_type

ROWS = [Row(epoch=1, step=5, train_loss=3.0, val_loss=2.5, exact_match=40.0, f1=50.0)]
EPOCHS = [*ROWS, Row(epoch=2, step=10, train_loss=2.5, val_loss=2.0, exact_match=50.0, f1=60.0)]
PUBLISHED = {  # what the recipe's run has
    "settings": {"data.max_length": 384, "data.stride": 128, "data.batch_size": 16, "data.limit": None},
    "inputs": {"model": ["google-bert/bert-base-multilingual-cased@0"], "train": ["rajpurkar/squad@0"]},
}
RESULTS = Results(
    epochs=ROWS, best=ROWS[0], windows=PerSplit(train=80, validation=20), examples=PerSplit(train=40, validation=10),
    windows_per_second=PerSplit(), devices=1, skipped={"train": {"empty answer": 2}},
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    evil = "<script>document.title = 'taken'</script></script><img src=x onerror=\"document.title='taken'\">"
    questions = [question(f"right-{n}", "grey stone", "grey stone") for n in range(30)]
    questions += [
        question("wrong", "1912", "1913", f1=0.0),
        question("evil", "x", evil, f1=0.5, loss=math.nan, question=evil),
    ]
    about = {"model": evil, "train": "rajpurkar/squad from the hub", "command": "python train.py"}
    results = RESULTS.model_copy(update={"about": about, "identity": PUBLISHED})
    write_page(RunReport(RunFolder(folder), results, questions, {}))
    with phone() as opened:
        opened.goto(f"file://{folder}/report.html")
        yield opened


def test_a_script_in_the_data_stays_text(page: Page) -> None:
    page.select_option("#kind", "partly")
    assert page.locator("article .q").inner_text().startswith("<script>document.title = 'taken'</script>")
    assert page.locator("h1").inner_text().startswith("<script>")
    assert page.title().endswith("– report")
    assert page.locator("img").count() == 0
    assert page.locator("article .figures").first.inner_text().startswith("EM 0 · F1 50 · ")  # percent, as above
    assert "model" not in page.locator("dt").all_inner_texts()  # the title is its name


def test_answers_are_marked_filtered_and_found(page: Page) -> None:
    page.select_option("#kind", "wrong")
    assert page.locator("#count").inner_text() == "1 of 32 questions"
    assert page.locator("article .gold").inner_text() == "1912"
    assert page.locator("article .pred").inner_text() == "1913"
    assert page.locator("article .figures").first.inner_text().startswith("EM 0 · F1 0 · probability ")
    assert page.locator("article .figures").first.inner_text().endswith(" · id wrong")
    page.select_option("#kind", "")
    assert page.locator("article").count() == 20
    assert page.locator("article .q").first.inner_text() == "What is wrong?"
    page.click("#more")
    assert page.locator("article").count() == 32
    page.fill("#text", "RIGHT-7")
    assert page.locator("article .gold.pred").inner_text() == "grey stone"
    assert page.locator("article").count() == 1
    page.fill("#text", "no question has this")
    assert page.locator("#count").inner_text() == "0 of 32 questions"
    page.click("#clear")
    assert page.locator("#count").inner_text() == "32 of 32 questions"
    assert not page.locator("#clear").is_visible()


def test_errors_are_counted_filtered_and_doubtful_references_come_first(page: Page) -> None:
    row = page.locator("tr", has=page.get_by_role("cell", name="another place", exact=True))
    assert row.inner_text().split("\t")[:3] == ["another place", "1", "50%"]
    page.select_option("#error", "another place")
    assert page.locator("#count").inner_text() == "1 of 32 questions"
    page.click("#clear")
    page.select_option("#order", "doubt")
    assert page.locator("article .q").first.inner_text() == "What is wrong?"
    page.select_option("#order", "f1")


def test_the_page_fits_a_phone_and_holds_what_a_reviewer_wants(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    text = page.inner_text("body")
    for words in (
        "2.5000",
        "1.0122",
        "paragraphs, too few for an interval",
        "Skipped: 2 × empty answer",
        "calibration error",
    ):
        assert words in text
    assert page.locator("svg").count() == 5  # no step was logged


def test_of_many_questions_the_page_has_those_answered_worst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [question(f"q{n}", "a", "a", context=f"a {n}", f1=n % 10 / 9, probability=n / 99) for n in range(99)]
    monkeypatch.setattr(report_module, "SHOWN", 12)
    shared = Overlap(contexts=1, of_contexts=2, questions=3, repeated=0, of_questions=4)
    results = RESULTS.model_copy(update={"overlap": shared})
    write_page(RunReport(RunFolder(tmp_path), results, questions, {}))
    html = (tmp_path / "report.html").read_text()
    assert shared.note() in html
    assert "Here are 12 of 99 questions, those that were answered worst; all are in questions.parquet." in html
    data = json.loads(html.partition('id="data">')[2].partition("</script>")[0])
    assert {q["id"] for q in data["questions"]} == {*(f"q{n}" for n in range(0, 99, 10)), "q91", "q81"}
    assert sorted(data["contexts"]) == sorted(f"a {q['id'][1:]}" for q in data["questions"])


def test_a_page_that_cannot_be_written_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "report.html").mkdir()
    try_page(RunReport(RunFolder(tmp_path), RESULTS, [question("q", "a", "a")], {}))
    assert "report.html: not written (" in caplog.text


def test_questions_by_kind() -> None:
    words = {"How many arches?": "how many", "Whose bridge?": "who", "In which year?": "which", "Name it.": "other"}
    asked = [question(str(n), "a", "a", question=text) for n, text in enumerate(words)]
    assert [question_type(q) for q in asked] == list(words.values())
    assert question_type(asked[0]._replace(language="de")) == "other"
    asked.append(asked[0]._replace(exact_match=0.0, f1=0.5))
    assert breakdown(asked, question_type)[0] == Part("how many", 2, 50.0, 75.0, 1)
    assert all(sum(part.questions for part in breakdown(asked, kind)) == 5 for kind in KINDS.values())


def test_questions_without_an_answer_are_a_kind_where_there_are_some() -> None:
    asked = [question("a", "a", "a"), question("b", "a", "a")]
    assert "answerable" not in kinds(asked)
    asked.append(question("c", "a", "a")._replace(answers=[], prediction="", exact_match=1.0, f1=1.0))
    found = {name: breakdown(asked, kind) for name, kind in kinds(asked).items()}
    assert [part[:3] for part in found["answerable"]] == [("answerable", 2, 100.0), ("unanswerable", 1, 100.0)]
    assert [part.name for part in found["length of the answer"]] == ["no answer", "1 word"]


def test_the_same_run_gives_the_same_chart() -> None:
    one, two = (as_svg(together(curves([(1, 3.0), (2, 2.0), (3, 1.5)], EPOCHS))) for _ in range(2))
    assert one == two
    assert one.startswith("<svg") and "training loss, mean over windows" in one


def test_a_run_that_logged_no_step_has_no_chart_of_steps() -> None:
    for losses in ([], [(1, math.nan)]):
        svg = as_svg(together(curves(losses, EPOCHS)))
        assert "loss, mean over windows" in svg and "training loss" not in svg


def test_one_epoch_and_one_step_are_no_curves() -> None:
    [panel] = together(curves([(1, 3.0), (2, 2.0)], ROWS[:1])).axes
    assert panel.get_title() == "training loss, mean over windows"
    assert curves([(1, 3.0)], ROWS[:1]) == []


def test_the_mean_of_the_loss_lies_in_the_middle_of_its_steps() -> None:
    def lines(count: int) -> list[Any]:
        falling = [(step, 5 - 4 * step / count + (-1) ** step / 10) for step in range(1, count + 1)]
        *_, panel = together(curves([*falling, (count + 1, math.nan)], ROWS)).axes
        return list(panel.get_lines())

    assert len(lines(24)) == 1
    raw, mean = lines(400)
    values = dict(zip(raw.get_xdata(), raw.get_ydata(), strict=True))
    above = sum(y > values[x] for x, y in zip(mean.get_xdata(), mean.get_ydata(), strict=True))
    assert above == pytest.approx(len(mean.get_xdata()) / 2, abs=2)
