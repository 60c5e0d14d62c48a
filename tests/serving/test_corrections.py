"""Corrections are lines that training reads, one for each question, whatever becomes of the file."""

import json
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.paths import ROOT
from qa.data.examples import read_examples
from qa.errors import UserError
from qa.serving.corrections import PASSAGE, Correction, Corrections, passage
from qa.serving.limits import Refused

BOOK = "\n".join(f"Line {number} names {chr(97 + number % 26) * 30}." for number in range(500))


MODEL = ("demo/model", "c0ffee")  # its name, and the hash of its files


def correction(text: str, start: int, context: str = BOOK) -> Correction:
    return Correction(question="Which?", context=context, text=text, start=start, name="book.txt", predicted="Line")


def test_a_question_has_its_last_correction(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    first, last = BOOK.index("Line 7 "), BOOK.index("Line 480")
    assert corrections.add(correction("Line 7", first), *MODEL)
    assert not corrections.add(correction("Line 7", first), *MODEL)
    assert corrections.add(correction("Line 480", last), *MODEL)  # far away: another passage of the same text
    assert corrections.add(correction("", 5, "Nothing of the kind."), *MODEL)
    assert corrections.count == 2
    examples = read_examples(str(corrections.path), need="places").examples
    assert [example.answers[0].text if example.answers else None for example in examples] == ["Line 480", None]
    found = examples[0]
    assert found.label is not None and found.context[slice(*found.label)] == "Line 480"
    assert len(found.context) <= PASSAGE + 100 and found.context.startswith("Line ")
    source = json.loads(corrections.path.read_text().splitlines()[0])["source"]
    assert (source["model"], source["model_content"]) == MODEL
    assert BOOK[source["start"] :].startswith(found.context)
    assert Corrections(corrections.path).count == 2


def test_a_file_that_was_moved_away_begins_anew_and_a_damaged_one_is_left(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    assert corrections.add(correction("Line 7", BOOK.index("Line 7 ")), *MODEL)
    corrections.path.rename(tmp_path / "old.jsonl")
    assert corrections.add(correction("Line 8", BOOK.index("Line 8 ")), *MODEL)
    assert len(corrections.path.read_text().splitlines()) == 1
    corrections.path.write_text("damaged")
    with pytest.raises(Refused) as found:
        corrections.add(correction("Line 9", BOOK.index("Line 9 ")), *MODEL)
    assert found.value.status == 503 and str(tmp_path) not in str(found.value)
    assert corrections.path.read_text() == "damaged"


@pytest.mark.parametrize(("text", "start"), [("Line 7", 0), ("Line 0 ", 0), ("", len(BOOK) + 1)])
def test_a_correction_must_be_there(tmp_path: Path, text: str, start: int) -> None:
    with pytest.raises(UserError, match="select it again"):
        Corrections(tmp_path / "c.jsonl").add(correction(text, start), *MODEL)


@pytest.mark.parametrize("text", ["x" * 9_000, "x y " * 3_000, BOOK])
def test_a_passage_holds_its_place(text: str) -> None:
    for start in range(0, len(text) - 50, 997):
        begin, piece = passage(text, start, start + 50)
        assert text[begin : begin + len(piece)] == piece
        assert begin <= start and start + 50 <= begin + len(piece)
        assert 50 < len(piece) <= PASSAGE + 50


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "c.jsonl", tmp_path / "c.jsonl"
    target.parent.mkdir()
    link.symlink_to(target)
    corrections = Corrections(link)
    for text in ("Line 7", "Line 8"):  # the second replaces the first
        assert corrections.add(correction(text, BOOK.index(f"{text} ")), *MODEL)
    assert link.is_symlink()
    assert [json.loads(line)["answers"]["text"] for line in target.read_text().splitlines()] == [["Line 8"]]


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    assert corrections.add(correction("Line 7", BOOK.index("Line 7 ")), *MODEL)
    before = corrections.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, limits[1]))
    try:
        with pytest.raises(Refused) as full:
            corrections.add(correction("", 5, "Nothing of the kind."), *MODEL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.value.status == 507 and "cannot be written (File too large)" in str(full.value)
    assert corrections.path.read_bytes() == before
    assert corrections.add(correction("", 5, "Nothing of the kind."), *MODEL)


def test_a_file_that_an_editor_has_changed_stays_one_line_each(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    assert corrections.add(correction("Line 7", BOOK.index("Line 7 ")), *MODEL)
    corrections.path.write_text(corrections.path.read_text().rstrip("\n"))
    for context in ("Nothing of the kind.", "Nothing else."):
        assert corrections.add(correction("", 5, context), *MODEL)
    assert [json.loads(line)["answers"]["text"] for line in corrections.path.read_text().splitlines()] == [
        ["Line 7"],
        [],
        [],
    ]


IN_SMALL_FILE = """
import sys
from pathlib import Path
from qa.serving.corrections import Correction, Corrections
from qa.serving.limits import Refused
corrections = Corrections(Path(sys.argv[1]))
def add(text, size, predicted=""):
    context = f"Line 7 or Line 8 {'x' * size}"
    start = context.index(text)
    right = Correction(question="?", context=context, text=text, start=start, predicted=predicted)
    return corrections.add(right, "m", "c")
assert add("Line 7", 500) and add("Line 8", 500) and corrections.count == 1
assert add("Line 7", 3_000) and add("Line 7", 2_500)
before = corrections.path.read_bytes()
try:
    print(add("Line 7", 500, "y" * 2_000))
except Refused as full:
    print(full.status, corrections.path.read_bytes() == before)
assert add("", 10) and corrections.count == 4
"""


def test_a_file_that_is_mounted_by_itself_loses_nothing(tmp_path: Path) -> None:
    """Such a file cannot be replaced, and its disk may be smaller than that of its folder."""
    disk, file = tmp_path / "disk", tmp_path / "c.jsonl"
    disk.mkdir()
    file.touch()
    mounts = f"mount -t tmpfs -o size=8k none {disk} && touch {disk}/c && mount --bind {disk}/c {file}"
    command = ["unshare", "-rm", "sh", "-c", f'{mounts} || exit 77; exec "$@"', "sh", sys.executable, "-c"]
    done = subprocess.run([*command, IN_SMALL_FILE, file], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no namespaces to mount in")
    assert (done.stdout, done.returncode) == ("507 True\n", 0), done.stderr


def test_several_services_share_a_file(tmp_path: Path) -> None:
    services = [Corrections(tmp_path / "c.jsonl") for _ in range(4)]
    texts = [f"Line {number}" for number in range(30)]

    def add_all(service: Corrections) -> int:
        added = 0
        for number, text in enumerate(texts):
            added += service.add(correction(text, 0, f"{text} is here."), *MODEL)
            service.add(correction("Line"[number % 4], number % 4, "Line"), *MODEL)  # rewrites the file
        return added

    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(add_all, services))
    lines = services[0].path.read_text().splitlines()
    assert sum(added) == 30 and len(lines) == len({json.loads(line)["id"] for line in lines}) == 31
