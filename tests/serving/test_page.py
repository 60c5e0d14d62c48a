"""The page of the service, in a real browser: what it marks is what the service answers, by keyboard alone, too."""

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from shutil import copytree
from typing import Any
from zlib import compress

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from transformers import PreTrainedTokenizerFast

from helpers.browser import chromium, visited
from helpers.service import Service, served

WIDE: dict[str, Any] = {"viewport": {"width": 1200, "height": 900}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}}
MILL = "😀 Anna Kern founded the mill in 1912.\n\nHer son Paul 🌉 sold it in 1950 to the town of Arlbury."
BRIDGE = "The bridge of Tollen was built in 1822 by Ada Brill. A flood took its arches away."
EVIL = "<img src=x onerror=\"document.title='taken'\"><script>document.title = 'taken'</script>"
Open = Callable[..., AbstractContextManager[Page]]


@pytest.fixture(scope="module")
def service(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with served(tiny, tmp_path_factory.mktemp("page")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(params=[WIDE, PHONE], ids=["wide", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, service: Service) -> Iterator[Page]:
    with visited(browser, service.url, **request.param) as found:
        yield found


@pytest.fixture
def wide(browser: Browser, service: Service) -> Iterator[Page]:
    with visited(browser, service.url, **WIDE) as page:
        yield page


def api_answer(service: Service, question: str, context: str | list[str]) -> dict[str, Any]:
    body = {"question": question, "context": context, "options": {"top_k": 5, "whole_words": True}}
    answer: dict[str, Any] = httpx.post(service.url + "/answer", json=body, timeout=60).json()["answers"][0]
    return answer


def add(page: Page, text: str) -> None:
    page.locator("#adding").evaluate("details => { details.open = true }")
    page.fill("#pasted", text)
    page.click("#add-form button")


def ask(page: Page, question: str) -> None:
    page.fill("#question", question)
    page.press("#question", "Enter")
    expect(page.locator("#answer p").first).to_have_text(question)


def tab_to(page: Page, id: str) -> None:
    for _ in range(40):
        if page.evaluate("document.activeElement.id") == id:
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{id} cannot be reached by Tab")


def marked(page: Page) -> list[list[Any]]:
    """What is marked as the answer: its paragraph, how many characters are before it there, and its words."""
    places: list[list[Any]] = page.locator("#reader mark.answer").evaluate_all(
        """marks => marks.map(mark => {
            const before = document.createRange();
            before.setStart(mark.parentNode, 0);
            before.setEndBefore(mark);
            return [Number(mark.parentNode.dataset.piece), [...before.toString()].length, mark.textContent];
        })"""
    )
    return places


def assert_marked(page: Page, text: str, found: dict[str, Any]) -> None:
    """That an answer's place in a text is marked, in each paragraph that it touches."""
    begin, expected = 0, []
    for number, paragraph in enumerate(text.split("\n\n")):
        start, end = max(0, found["start"] - begin), min(len(paragraph), found["end"] - begin)
        expected += [[number, start, paragraph[start:end]]] if start < end else []
        begin += len(paragraph) + 2
    assert expected
    assert marked(page) == expected


def test_by_keyboard_alone_the_answer_is_marked_at_its_place(page: Page, service: Service) -> None:
    tab_to(page, "pasted")
    page.keyboard.insert_text(MILL)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    tab_to(page, "question")
    page.keyboard.insert_text("When was it sold?")
    page.keyboard.press("Enter")
    expect(page.locator("#answer .found")).to_be_visible()
    found = api_answer(service, "When was it sold?", MILL)
    assert found["start"] > MILL.index("Anna")
    assert_marked(page, MILL, found)
    expect(page.locator("#reader mark").first).to_be_in_viewport()
    assert page.text_content("#answer .found") == found["text"]
    assert "is a score, not a probability: this model is not calibrated" in page.inner_text("#answer")
    assert "its origin is not known; how often its answers are right is not known" in page.inner_text("#model")
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]  # type: ignore[index]


def test_each_alternative_shows_its_place(wide: Page, service: Service) -> None:
    add(wide, MILL)
    ask(wide, "Who sold it?")
    found = api_answer(service, "Who sold it?", MILL)
    candidates = [found, *sorted(found["alternatives"], key=lambda one: -one["probability"])]
    buttons = wide.locator("#candidates button")
    expect(buttons).to_have_count(len(candidates))
    assert len(candidates) > 1
    for number, candidate in enumerate(candidates):
        buttons.nth(number).focus()
        wide.keyboard.press("Enter")
        assert wide.text_content("#answer .found") == candidate["text"]
        assert_marked(wide, MILL, candidate)
        expect(buttons.nth(number)).to_have_attribute("aria-pressed", "true")
        expect(buttons.nth(number)).to_be_focused()


def test_several_texts_are_asked_together_or_one_alone(wide: Page, service: Service) -> None:
    add(wide, MILL)
    add(wide, BRIDGE)
    assert wide.locator("#texts li").count() == 2
    ask(wide, "When?")
    together = api_answer(service, "When?", [MILL, BRIDGE])
    assert_marked(wide, [MILL, BRIDGE][together["context_index"]], together)
    for number, text in enumerate((MILL, BRIDGE)):
        wide.locator("#texts .name").nth(number).click()
        wide.check("#this")
        ask(wide, f"Who, {number}?")
        assert_marked(wide, text, api_answer(service, f"Who, {number}?", text))
    wide.locator("#texts").get_by_role("button", name="Remove The bridge").click()
    assert wide.locator("#texts li").count() == 1
    assert not wide.locator("#this").is_visible()


def test_the_history_shows_a_place_again_and_a_follow_up_may_stay_near_it(wide: Page, service: Service) -> None:
    text = f"{MILL}\n\n{BRIDGE}"
    add(wide, text)
    assert wide.locator("#near").is_hidden()
    ask(wide, "Who founded it?")
    first = marked(wide)
    wide.check("#near")
    with wide.expect_request("**/answer/stream") as sent:
        ask(wide, "And when?")
    (passage,) = json.loads(sent.value.post_data or "")["context"]
    paragraphs = text.split("\n\n")
    assert passage == "\n\n".join(paragraphs[number] for number, *_ in first) != text
    near, begin = api_answer(service, "And when?", passage), text.index(passage)
    assert_marked(wide, text, {"start": begin + near["start"], "end": begin + near["end"]})
    wide.get_by_role("button", name="Who founded it?").click()
    assert marked(wide) == first
    assert wide.locator("#history li").count() == 2


def test_a_long_text_shows_progress_and_can_be_stopped(wide: Page) -> None:
    paragraphs = "".join(f"{BRIDGE} It is number {n}.\n\n" for n in range(20_000))
    paste = "(field, text) => { const clipboardData = new DataTransfer(); clipboardData.setData('text/plain', text);"
    paste += " field.dispatchEvent(new ClipboardEvent('paste', { clipboardData, cancelable: true, bubbles: true })) }"
    wide.locator("#pasted").evaluate(paste, paragraphs[:1_900_000])
    expect(wide.locator("#texts .quiet")).to_have_text("1,900k characters")
    wide.fill("#question", "Who built number 77?")
    wide.press("#question", "Enter")
    expect(wide.locator("#bar-words")).to_contain_text("% read", timeout=60_000)
    expect(wide.locator("#so-far")).to_contain_text("So far:")
    wide.click("#stop")
    expect(wide.locator("#ask-status")).to_have_text("Stopped.")
    assert not wide.locator("#progress").is_visible()
    assert wide.locator("#history li").count() == 0


def corrections(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.corrections.read_text().splitlines()]


def test_a_selected_word_becomes_a_correction(wide: Page, service: Service) -> None:
    add(wide, BRIDGE)
    ask(wide, "What was taken away?")
    wide.click("#correct summary")
    wide.locator("#reader p").dblclick(position={"x": 60, "y": 15})
    expect(wide.locator("#right-words")).not_to_have_text("nothing yet")
    words = wide.inner_text("#right-words")
    assert words in BRIDGE and words.isalpha()
    wide.click("#send-right")
    expect(wide.locator("#correct-status")).to_have_text("Thank you, saved.")
    last = corrections(service)[-1]
    assert (last["question"], last["answers"]["text"]) == ("What was taken away?", [words])
    wide.click("#send-right")
    expect(wide.locator("#correct-status")).to_have_text("This was known already.")


def test_a_correction_by_keyboard_is_looked_up_in_the_text(page: Page, service: Service) -> None:
    question = f"How many, {page.viewport_size}?"
    add(page, MILL)
    ask(page, question)
    page.focus("#correct summary")
    page.keyboard.press("Enter")
    tab_to(page, "typed")
    page.keyboard.insert_text("nowhere")
    expect(page.locator("#place-words")).to_have_text("These words are not in the text.")
    page.fill("#typed", "the")
    tab_to(page, "next-place")
    page.keyboard.press("Enter")
    expect(page.locator("#place-words")).to_have_text("Place 2 of 2")
    expect(page.locator("#reader mark.right")).to_be_in_viewport()
    tab_to(page, "send-right")
    page.keyboard.press("Enter")
    expect(page.locator("#correct-status")).to_have_text("Thank you, saved.")
    last = corrections(service)[-1]
    assert last["question"] == question
    assert last["answers"] == {"text": ["the"], "answer_start": [MILL.rindex("the")]}
    tab_to(page, "send-none")
    page.keyboard.press("Enter")
    expect(page.locator("#correct-status")).to_have_text("Thank you, saved.")
    assert corrections(service)[-1]["is_impossible"]
    last_lines = {line["id"]: line for line in corrections(service)}.values()
    count = sum("withdrawn" not in line for line in last_lines)
    expect(page.locator("#corrections")).to_contain_text(f"{count} correction")


def test_a_file_of_markup_stays_text(wide: Page, tmp_path: Path) -> None:
    evil = tmp_path / "<img src=x onerror=document.title='taken'>.txt"
    evil.write_text(EVIL)
    wide.set_input_files("#files", evil)
    expect(wide.locator("#reading-title")).to_have_text(evil.name)
    assert wide.text_content("#reader p") == EVIL
    ask(wide, EVIL)
    assert wide.locator("#reader img, #texts img, #answer img, #history img, main script").count() == 0
    assert wide.title() == "Ask a text"


def test_a_file_may_be_dropped_anywhere_and_a_bad_one_is_named(browser: Browser, service: Service) -> None:
    drop = """([name, text]) => {
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([text], name));
        const event = { dataTransfer, bubbles: true, cancelable: true };
        for (const kind of ["dragover", "drop"]) document.body.dispatchEvent(new DragEvent(kind, event));
    }"""
    with visited(browser, service.url, refused=1, **WIDE) as page:
        page.evaluate(drop, ["bridge.txt", BRIDGE])
        expect(page.locator("#reading-title")).to_have_text("bridge.txt")
        page.evaluate(drop, ["bridge.xyz", "\0"])
        expect(page.locator("#texts-status")).to_contain_text("bridge.xyz: ")
        assert page.locator("#texts li").count() == 1


def test_texts_stay_until_everything_is_forgotten(wide: Page) -> None:
    add(wide, MILL)
    ask(wide, "Who?")
    expect(wide.locator("#history li")).to_have_count(1)
    wide.reload()
    expect(wide.locator("#reading-title")).not_to_have_text("No text yet")
    assert wide.locator("#reader p").all_text_contents() == MILL.split("\n\n")
    wide.locator("#history .name").click()
    assert wide.inner_text("#answer .found") and marked(wide)
    wide.once("dialog", lambda dialog: dialog.accept())
    wide.click("#forget")
    expect(wide.locator("#texts li")).to_have_count(0)
    for place in ("#history-section", "#answer-section", "#correct", "#reader"):
        assert not wide.locator(place).is_visible()
    assert wide.locator("mark").count() == 0
    wide.reload()
    expect(wide.locator("#model")).not_to_be_empty()
    expect(wide.locator("#reading-title")).to_have_text("No text yet")
    assert wide.locator("#history li").count() == 0


def test_two_tabs_keep_the_texts_and_the_history_of_both(wide: Page, service: Service) -> None:
    other = wide.context.new_page()
    other.goto(service.url)
    add(wide, MILL)
    add(other, BRIDGE)
    for tab in (wide, other):
        expect(tab.locator("#texts li")).to_have_count(2)
    ask(wide, "Who founded it?")
    ask(other, "Who built it?")
    for tab in (wide, other):
        expect(tab.locator("#history li")).to_have_count(2)
        tab.reload()
        expect(tab.locator("#texts li")).to_have_count(2)
        expect(tab.locator("#history .name")).to_have_text(["Who built it?", "Who founded it?"])
    other.locator("#texts").get_by_role("button", name="Remove The bridge").click()
    expect(wide.locator("#texts li")).to_have_count(1)


def test_what_is_forgotten_in_one_tab_is_gone_in_all(wide: Page, service: Service, tmp_path: Path) -> None:
    add(wide, MILL)
    ask(wide, "Who founded it?")
    other = wide.context.new_page()
    other.goto(service.url)
    other.set_input_files("#study-file", questions_file(tmp_path))
    expect(other.locator("#due")).to_have_text("5 questions due now")
    other.once("dialog", lambda dialog: dialog.accept())
    other.click("#forget")
    for tab in (wide, other):
        expect(tab.locator("#texts li")).to_have_count(0)
        expect(tab.locator("#answer-section")).to_be_hidden()
        expect(tab.locator("#study-deck")).to_be_hidden()
        assert "Anna" not in tab.inner_text("body")


def test_what_the_browser_cannot_keep_is_said(browser: Browser, service: Service) -> None:
    with visited(browser, service.url, **WIDE) as page:
        page.evaluate(
            "() => { IDBObjectStore.prototype.put = () => { throw new DOMException('', 'QuotaExceededError'); }; }"
        )
        add(page, MILL)
        expect(page.locator("#lost")).to_contain_text("could not keep your last change. Its storage is full.")
        ask(page, "Who founded it?")  # it works all the same
        assert page.locator("#texts li").count() == 1
        expect(page.locator("#history .name")).to_have_text(["Who founded it?"])
        page.locator("#texts button").last.click()
        expect(page.locator("#texts li")).to_have_count(0)


def test_a_correction_is_shown_when_the_question_is_asked_again(wide: Page) -> None:
    add(wide, MILL)
    for turn in range(2):
        ask(wide, "What was founded?")
        if turn == 0:
            wide.click("#correct summary")
            wide.fill("#typed", "mill")
            wide.click("#send-right")
        expect(wide.locator("#answer .corrected")).to_have_text("corrected by you: mill Undo")
        expect(wide.locator("#history li").first).to_contain_text("corrected by you: mill")


def test_a_correction_can_be_undone(wide: Page, service: Service) -> None:
    add(wide, MILL)
    ask(wide, "What was sold?")
    wide.click("#correct summary")
    wide.fill("#typed", "mill")
    wide.press("#typed", "Enter")
    expect(wide.locator("#answer .corrected")).to_be_visible()
    ask(wide, "what was  sold")
    wide.reload()  # also on another day
    wide.locator("#history .name").first.click()
    expect(wide.locator("#history li").last).to_contain_text("corrected by you: mill")
    wide.get_by_role("button", name="Undo").click()
    expect(wide.locator("#answer .corrected")).to_have_count(0)
    expect(wide.locator("#history")).not_to_contain_text("corrected")
    assert corrections(service)[-1]["withdrawn"]
    wide.reload()
    wide.locator("#history .name").last.click()
    expect(wide.locator("#answer")).not_to_contain_text("corrected")


def test_a_correction_names_its_text(wide: Page, service: Service) -> None:
    add(wide, MILL)
    ask(wide, "What was built?")
    wide.click("#correct summary")
    wide.fill("#typed", "mill")
    wide.press("#typed", "Enter")
    expect(wide.locator("#answer .corrected")).to_have_text("corrected by you: mill Undo")
    add(wide, BRIDGE)
    ask(wide, "What was built?")  # in both
    expect(wide.locator("#answer .corrected")).to_contain_text("corrected by you: mill, in 😀 Anna")
    wide.fill("#typed", "nowhere")
    expect(wide.locator("#place-words")).to_contain_text("If another text has them, show it first.")
    wide.locator("#texts button.name").last.click()
    wide.check("#this")
    ask(wide, "What was built?")
    expect(wide.locator("#answer .corrected")).to_contain_text("corrected by you: mill, in 😀 Anna")
    expect(wide.locator("#place-words")).to_have_text("")
    expect(wide.locator("#right-words")).to_have_text("nothing yet")
    expect(wide.locator("#send-none")).to_contain_text("The bridge")
    wide.click("#send-none")
    expect(wide.locator("#answer .corrected")).to_contain_text("corrected by you: no answer, in The bridge")
    assert corrections(service)[-1]["context"] == BRIDGE


def test_what_is_marked_belongs_to_the_question_that_is_shown(wide: Page) -> None:
    add(wide, MILL)
    ask(wide, "Who founded it?")
    wide.locator("#texts button").last.click()
    add(wide, BRIDGE)
    ask(wide, "Who built it?")
    assert marked(wide)
    wide.get_by_role("button", name="Who founded it?").click()
    expect(wide.locator("#answer")).to_contain_text("Its text has been removed.")
    assert not marked(wide)


def test_a_sample_can_be_asked(wide: Page) -> None:
    wide.click("#sample")
    expect(wide.locator("#reading-title")).to_have_text("Sample")
    expect(wide.locator("#question")).to_be_focused()
    ask(wide, "Who founded the mill?")
    assert marked(wide)


def test_a_service_that_ends_says_so(tiny: Path, tmp_path: Path, browser: Browser) -> None:
    with served(tiny, tmp_path) as service, visited(browser, service.url, refused=2, **WIDE) as page:
        (tmp_path / "long.txt").write_text(f"{BRIDGE}\n" * 10_000)
        page.set_input_files("#files", tmp_path / "long.txt")
        expect(page.locator("#reading-title")).to_have_text("long.txt")
        page.fill("#question", "Who built it?")
        page.press("#question", "Enter")
        expect(page.locator("#so-far")).to_contain_text("So far:", timeout=30_000)
        service.process.kill()
        expect(page.locator("#ask-status")).to_have_text("The service ended before it had answered. Ask again.")
        page.press("#question", "Enter")
        expect(page.locator("#ask-status")).to_have_text("The service cannot be reached. Does it still run?")


def test_texts_run_in_their_own_direction(wide: Page) -> None:
    add(wide, "أسست آنا كيرن المطحنة في عام 1912. باعها ابنها بول.")
    ask(wide, "من أسس المطحنة؟")
    wide.click("#correct summary")
    wide.fill("#typed", "آنا")
    for place in ("#reader p", "#question", "#answer p", "#answer .found", "#reading-title", "#right-words", "#typed"):
        assert wide.locator(place).first.evaluate("element => getComputedStyle(element).direction") == "rtl", place


def test_what_is_not_sure_is_no_answer(tiny: Path, tmp_path: Path, browser: Browser) -> None:
    calibrated = copytree(tiny, tmp_path / "calibrated")
    base = {"questions": 90_000, "data": "squad", "base": "unknown"}
    trained = {"questions": 40, "data": "<b>.json", "date": "2026-11-30", "base": {"base": base}}
    known = {"temperature": 1000.0, "trained": trained}  # every probability is low
    (calibrated / "qa.json").write_text(json.dumps(known))
    with served(calibrated, tmp_path) as service, visited(browser, service.url, **WIDE) as page:
        add(page, MILL)
        ask(page, "Who is the mayor?")
        assert page.inner_text("#answer .found") == "No sure answer. The nearest passage:"
        assert page.inner_text("#answer .sentence") in MILL
        assert page.locator("#answer .sentence mark").count() == 1
        assert "right, for questions and texts like its training data" in page.inner_text("#answer")
        assert "likely" not in page.inner_text("#answer")
        assert page.inner_text("#model").endswith(
            "(torch): trained on 90,000 questions of squad (date unknown), then 40 questions of <b>.json "
            "(2026-11-30); "
            "its percentages are known only for texts like these"
        )


def test_how_many_answers_may_be_wrong_is_chosen_and_an_unlike_text_is_called_so(
    tiny: Path, tmp_path: Path, browser: Browser, wide: Page, minilm: PreTrainedTokenizerFast
) -> None:
    expect(wide.locator("#model")).to_contain_text("(torch)")
    assert not wide.locator("#max-error").is_visible()  # of a model that promises nothing
    rarity = np.full(len(minilm), 160, np.uint8)
    rarity[minilm(MILL)["input_ids"]] = 8  # in eighths of a bit
    known = {"rarity": b64encode(compress(rarity.tobytes())).decode(), "usual": 1, "deviation": 1, "token_deviation": 1}
    bounds = [
        {"probability": 1e-9, "answers": 60, "answered": 0.2, "wrong": 0.1, "wrong_at_most": 0.2},
        {"probability": 0.0, "answers": 300, "answered": 1, "wrong": 0.4, "wrong_at_most": 0.5},
    ]
    promising = copytree(tiny, tmp_path / "promising")
    facts = {"temperature": 1.0, "error_bounds": bounds, "known_texts": known}
    (promising / "qa.json").write_text(json.dumps(facts))
    with served(promising, tmp_path) as service, visited(browser, service.url, **WIDE) as page:
        assert httpx.get(service.url + "/model").json()["max_errors"] == [0.2, 0.3]
        expect(page.locator("#max-error option")).to_have_text(["any number", "at most 30%", "at most 20%"])
        page.select_option("#max-error", "0.2")
        page.reload()
        expect(page.locator("#max-error")).to_have_value("0.2")
        add(page, MILL)
        with page.expect_request("**/answer/stream") as sent:
            ask(page, "Who is the mayor?")
        options = json.loads(sent.value.post_data or "")["options"]
        assert (options["max_error"], options["whole_words"]) == (0.2, False)  # what is promised is for usual answers
        assert page.locator("#answer .notice").count() == 0
        add(page, BRIDGE)
        page.check("#all")
        page.fill("#question", "Who built it?")
        page.press("#question", "Enter")
        expect(page.locator("#ask-status")).to_contain_text("is known for one whole text alone")
        page.check("#this")
        ask(page, "Who built the bridge?")
        warning = api_answer(service, "Who built the bridge?", BRIDGE)["warning"]
        assert "unlike those of the calibration" in warning
        assert page.inner_text("#answer .notice") == warning
        assert page.inner_text("#answer .found") == "No answer found in this text"
        assert "For such a text nobody knows how many answers are wrong." in page.inner_text("#answer")
        page.select_option("#max-error", "")
        ask(page, "Who built the bridge of Tollen?")
        assert page.inner_text("#answer .notice") == warning
        assert page.locator("#reader mark.answer").count() == 1
        page.select_option("#max-error", "0.3")
        page.once("dialog", lambda dialog: dialog.accept())
        page.click("#forget")
        expect(page.locator("#max-error")).to_have_value("")


def test_a_token_is_asked_for_and_a_model_may_find_no_answer(tiny: Path, tmp_path: Path, browser: Browser) -> None:
    strict = copytree(tiny, tmp_path / "strict")
    (strict / "qa.json").write_text(json.dumps({"no_answer_threshold": -1000.0, "temperature": 1.0}))
    secret = {"QA_SERVE_TOKEN": "secret"}
    with served(strict, tmp_path, env=secret) as service, visited(browser, service.url, refused=2, **WIDE) as page:
        for token, words in (("wrong", "This service asks for a token."), ("secret", "This token is not accepted.")):
            expect(page.locator("#token-words")).to_have_text(words)
            expect(page.locator("#token")).to_be_focused()
            page.keyboard.insert_text(token)
            page.keyboard.press("Enter")
        expect(page.locator("#model")).to_contain_text("strict (torch)")
        assert not page.locator("#token-form").is_visible()
        add(page, MILL)
        ask(page, "Who is the mayor?")
        assert page.inner_text("#answer .found") == "No answer found in this text"
        assert page.inner_text("#candidates-title") == "What came closest"
        assert page.locator("#reader mark").count() == 0
        page.click("#correct summary")
        page.fill("#typed", "mill")
        page.press("#typed", "Enter")
        expect(page.locator("#answer .corrected")).to_have_text("corrected by you: mill Undo")
        page.locator("#candidates button").first.click()
        assert "not calibrated" not in page.inner_text("#answer")
        assert page.locator("#reader mark").count() > 0


def questions_file(tmp_path: Path, what: str = "Bridge") -> Path:
    lines = []
    for number in range(5):
        question, begin, name = (
            f"Who built {what.lower()} {number}?",
            f"{what} {number} was built by ",
            f"Ada Brill{number}",
        )
        answers = {"text": [name], "answer_start": [len(begin)]}
        lines.append({"id": f"q{number}", "question": question, "context": f"{begin}{name}.", "answers": answers})
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


DAY = """new Date().toLocaleDateString("en", { weekday: "long", day: "numeric", month: "long" })"""


def answer_card(page: Page, words: str, verdict: str) -> None:
    page.fill("#given", words)
    page.press("#given", "Enter")
    expect(page.locator("#result .found")).to_contain_text(verdict)
    expect(page.locator("#result")).to_contain_text("The model says:")
    page.press("#given", "Enter")


def test_a_wrong_question_returns_and_progress_is_kept(page: Page, tmp_path: Path) -> None:
    page.click("#to-study")
    page.set_input_files("#study-file", questions_file(tmp_path))
    expect(page.locator("#due")).to_have_text("5 questions due now")
    page.press("#given", "Enter")
    expect(page.locator("#study-status")).to_have_text("Type or select an answer first.")
    asked = []
    for turn in range(6):
        number = page.inner_text("#study-question").removeprefix("Who built bridge ").rstrip("?")
        asked.append(number)
        answer_card(page, "Nobody" if turn == 0 else f"the Ada Brill{number}", "Wrong" if turn == 0 else "Right")
    assert asked == ["0", "1", "2", "3", "0", "4"]
    expect(page.locator("#study-done")).to_be_visible()
    assert page.locator("#boxes tr").all_inner_texts()[:2] == ["Box 1\t0\t0", "Box 2\t5\t0"]
    with page.expect_download() as saved:
        page.click("#export")
    exported = json.loads(Path(saved.value.path()).read_text())
    assert {state["box"] for state in exported["boxes"].values()} == {2}
    page.reload()
    expect(page.locator("#study-name")).to_have_text("questions.jsonl: 5 questions")  # the file is kept
    expect(page.locator("#study-done")).to_contain_text("Nothing is due now. The next question is due on ")
    page.set_input_files("#study-file", questions_file(tmp_path, "Tower"))  # a file of the same name, with the same ids
    expect(page.locator("#due")).to_have_text("5 questions due now")
    answer_card(page, "Nobody", "Wrong")
    page.set_input_files("#study-file", questions_file(tmp_path))
    expect(page.locator("#due")).to_have_text("0 questions due now")
    today = page.evaluate(DAY)  # of the other questions of the same file name, one is due
    expect(page.locator("#study-done")).not_to_contain_text(today)
    assert [key for key in exported["boxes"] if key.startswith("q3 ")] == ["q3 Who built bridge 3?"]
    exported["boxes"]["q3 Who built bridge 3?"] = {"box": 4, "due": 0}
    (tmp_path / "progress.json").write_text(json.dumps(exported))
    page.set_input_files("#import", tmp_path / "progress.json")
    expect(page.locator("#study-question")).to_have_text("Who built bridge 3?")
    (tmp_path / "progress.json").write_text("[]")
    page.set_input_files("#import", tmp_path / "progress.json")
    expect(page.locator("#study-status")).to_have_text("progress.json: is not a progress file of this page.")


def test_cards_come_from_a_sample_from_ones_own_questions_and_from_anki(wide: Page, tmp_path: Path) -> None:
    wide.click("#to-study")
    expect(wide.locator("#study-kinds")).to_contain_text("question,answer,context")
    wide.click("#study-own")
    expect(wide.locator("#study-status")).to_have_text("Ask a text some questions first.")
    wide.click("#study-sample")
    expect(wide.locator("#study-name")).to_have_text("Sample: 5 questions")
    expect(wide.locator("#study-status")).to_be_hidden()
    answer_card(wide, "anna kern", "Right")
    wide.click("#to-ask")
    add(wide, MILL)
    ask(wide, "Who sold it?")
    ask(wide, "Who founded it?")
    wide.click("#correct summary")
    wide.fill("#typed", "Anna Kern")
    wide.press("#typed", "Enter")
    expect(wide.locator("#answer .corrected")).to_be_visible()
    ask(wide, "Who founded it")
    wide.click("#to-study")
    wide.click("#study-own")
    expect(wide.locator("#study-name")).to_have_text("Your questions: 2 questions")
    expect(wide.locator("#study-bad")).to_have_text("1 answer of the model, which you did not check.")
    answer_card(wide, "x", "Wrong")
    answer_card(wide, "Anna Kern", "Right")
    (tmp_path / "anki.txt").write_text(
        '#separator:tab\n#html:true\n"Who <b>built</b> ""it""?"\tAda<br>Brill\nempty\t\n'
    )
    wide.set_input_files("#study-file", tmp_path / "anki.txt")
    expect(wide.locator("#study-question")).to_have_text('Who built "it"?')
    expect(wide.locator("#study-bad")).to_contain_text("1 question cannot be used.")
    assert wide.locator("#show-text").is_hidden()
    wide.fill("#given", "Ada Brill")
    wide.press("#given", "Enter")
    expect(wide.locator("#result .found")).to_contain_text("Right")


def test_a_text_is_called_by_its_first_line_and_can_be_renamed(wide: Page) -> None:
    add(wide, f"# The bridge\n\n{BRIDGE}")
    expect(wide.locator("#reading-title")).to_have_text("The bridge")
    add(wide, MILL)
    ask(wide, "Who built it?")
    wide.once("dialog", lambda dialog: dialog.accept("Tollen"))
    wide.get_by_role("button", name="Rename The bridge").click()
    expect(wide.locator("#texts .name").first).to_have_text("Tollen")
    wide.reload()
    expect(wide.locator("#texts .name").first).to_have_text("Tollen")
    expect(wide.locator("#pasted")).to_be_hidden()


def test_on_a_phone_the_question_stays_at_hand(browser: Browser, service: Service) -> None:
    with visited(browser, service.url, **PHONE) as page:
        add(page, "\n\n".join([MILL] * 40))
        ask(page, "Who founded it?")
        expect(page.locator("#answer-title")).to_be_in_viewport()
        page.locator("#history li").last.scroll_into_view_if_needed()
        expect(page.locator("#question")).to_be_in_viewport()


def test_a_question_counts_once_in_two_tabs(wide: Page, service: Service, tmp_path: Path) -> None:
    wide.set_input_files("#study-file", questions_file(tmp_path))
    expect(wide.locator("#due")).to_have_text("5 questions due now")
    other = wide.context.new_page()
    other.goto(f"{service.url}#study")
    answer_card(other, "the Ada Brill0", "Right")
    answer_card(other, "the Ada Brill1", "Right")
    expect(wide.locator("#due")).to_have_text("3 questions due now")
    wide.click("#to-study")
    answer_card(wide, "Nobody", "Wrong")
    expect(wide.locator("#study-question")).to_have_text("Who built bridge 2?")
    for tab in (wide, other):
        expect(tab.locator("#due")).to_have_text("4 questions due now")


def test_a_model_of_several_languages_is_asked_in_that_of_the_question(
    tiny: Path, tmp_path: Path, browser: Browser, wide: Page
) -> None:
    expect(wide.locator("#model")).to_contain_text("(torch)")
    assert not wide.locator("#language").is_visible()  # of a model without languages
    several = copytree(tiny, tmp_path / "several")
    (several / "qa.json").write_text(
        json.dumps({"temperature": 1.0, "temperature_by_language": {"de": 2.0, "en": 3.0}})
    )
    with served(several, tmp_path) as service, visited(browser, service.url, **WIDE) as page:
        page.select_option("#language", "de")
        add(page, MILL)
        with page.expect_request("**/answer/stream") as sent:
            ask(page, "Who is the mayor?")
        assert json.loads(sent.value.post_data or "")["language"] == "de"
        page.click("#to-study")
        for code, language in (("en", "en"), ("fr", None)):  # the model has no temperature of the last one
            page.set_input_files("#study-file", questions_file(tmp_path).rename(tmp_path / f"x.{code}.jsonl"))
            expect(page.locator("#study-name")).to_contain_text(f"x.{code}.jsonl")
            with page.expect_request("**/answer") as sent:
                answer_card(page, "Ada Brill0", "Right")
            assert json.loads(sent.value.post_data or "")["language"] == language


def test_a_learner_may_select_the_answer(wide: Page, tmp_path: Path) -> None:
    wide.click("#to-study")
    wide.set_input_files("#study-file", questions_file(tmp_path))
    assert wide.locator("#study-reader").is_hidden()  # it holds the answer
    wide.click("#show-text")
    wide.locator("#study-reader p").click(click_count=3)
    expect(wide.locator("#given")).to_have_value("Bridge 0 was built by Ada Brill0.")
    answer_card(wide, "Ada Brill0", "Right")
    wide.click("#given-none")
    expect(wide.locator("#result .found")).to_contain_text("Wrong")
    expect(wide.locator("#result")).to_contain_text("Ada Brill1")
    assert wide.text_content("#study-reader mark.right") is not None


def test_boxes_as_leitner_has_them(wide: Page) -> None:
    boxes = """async () => {
        const { moved, afterAnswer, stateOf, dueIds } = await import("/boxes.js");
        const day = 86400000, states = [stateOf({}, "a")];
        for (const isRight of [true, true, true, true, true, false]) states.push(moved(states.at(-1), isRight, 0));
        const due = dueIds(["a", "b", "c"], { a: { box: 2, due: 5 }, b: { box: 2, due: 4 } }, 4);
        return [states.map(({ box, due }) => [box, due / day]), afterAnswer(["a", "b", "c", "d", "e"], false),
            afterAnswer(["a", "b"], false), due];
    }"""
    states, *others = wide.evaluate(boxes)
    assert states == [[1, 0], [2, 1], [3, 3], [4, 7], [5, 14], [5, 14], [1, 0]]
    assert others == [["b", "c", "d", "a", "e"], ["b", "a"], ["b", "c"]]


def test_places_are_those_of_the_service(wide: Page) -> None:
    text = "😀" * 3000 + " one\n \n\ntwo 🌉\n" + "x" * 4500 + "\nend "
    pieces, units, points = wide.evaluate(
        """async (text) => {
        const { pieces, toUnits, toPoints } = await import("/places.js");
        return [pieces(text), toUnits(text, 3001), toPoints(text, text.indexOf("two"))];
    }""",
        text,
    )
    assert (units, points) == (6001, text.index("two"))
    utf16 = text.encode("utf-16-le")
    shown = [utf16[2 * piece["start"] : 2 * piece["end"]].decode("utf-16-le") for piece in pieces]
    assert "".join(shown) == text.replace("\n \n\n", "")
    assert [piece["joined"] for piece in pieces].count(False) == 2
    for start in (4_000, 4_002):  # a passage of a text without spaces has whole characters
        assert wide.evaluate(
            """async (start) => {
            const { passageAround } = await import("/places.js");
            const text = `一${"😀".repeat(3000)}`;
            const { start: first, end } = passageAround(text, { start, end: start + 1 });
            return text.slice(first, end).isWellFormed();
        }""",
            start + 1,
        )


def test_what_is_printed_is_the_text_its_answer_and_the_history(wide: Page) -> None:
    add(wide, MILL)
    ask(wide, "Who?")
    wide.emulate_media(media="print")
    for shown in ("#reader mark", "#answer .found", "#history li"):
        expect(wide.locator(shown).first).to_be_visible()
    for hidden in ("nav", "#ask", "#candidates", "#correct", "#texts", "footer"):
        expect(wide.locator(hidden)).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_axe_finds_nothing(
    size: dict[str, Any], scheme: str, browser: Browser, service: Service, tmp_path: Path
) -> None:
    with visited(browser, service.url, color_scheme=scheme, reduced_motion="reduce", **size) as page:

        def check() -> None:
            found = Axe().run(page).response["violations"]
            assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
            assert page.evaluate("document.documentElement.scrollWidth") == size["viewport"]["width"]

        expect(page.locator("#model")).not_to_be_empty()
        check()
        add(page, MILL)
        add(page, "An_unbroken_word_" * 40)
        ask(page, "Who sold it, " + "and_so_on_" * 30 + "?")
        page.click("#correct summary")
        page.fill("#typed", "n")
        check()
        page.click("#to-study")
        check()
        page.set_input_files("#study-file", questions_file(tmp_path))
        page.fill("#given", "Ada")
        page.press("#given", "Enter")
        expect(page.locator("#result")).to_contain_text("The model says:")
        check()
