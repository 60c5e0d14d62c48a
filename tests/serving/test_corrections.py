"""Corrections are lines that training reads, the last of each question, whatever becomes of the file."""

import gzip
import json
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.paths import ROOT
from qa.data.reading.examples import read_examples
from qa.errors import UserError
from qa.serving.corrections import PASSAGE_CHARACTERS, Correction, Corrections, passage
from qa.serving.limits import Refused

BOOK = "\n".join(f"Line {number} names {chr(97 + number % 26) * 30}." for number in range(500))


MODEL = ("demo/model", "c0ffee")  # its name, and the hash of its files


def correction(text: str, start: int, context: str = BOOK) -> Correction:
    return Correction(question="Which?", context=context, text=text, start=start, name="book.txt", predicted="Line")


def added(corrections: Corrections, given: Correction) -> bool:
    return corrections.add(given, *MODEL)[1]


def test_a_question_has_its_last_correction(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    first, last = BOOK.index("Line 7 "), BOOK.index("Line 480")
    assert added(corrections, correction("Line 7", first))
    assert not added(corrections, correction("Line 7", first))
    assert added(corrections, correction("Line 480", last))  # far away: another passage of the same text
    assert added(corrections, correction("", 5, "Nothing of the kind."))
    assert corrections.count == 2
    examples = read_examples(str(corrections.path), need="places").examples
    assert [example.answers[0].text if example.answers else None for example in examples] == ["Line 480", None]
    found = examples[0]
    assert found.label is not None and found.context[slice(*found.label)] == "Line 480"
    assert len(found.context) <= PASSAGE_CHARACTERS + 100 and found.context.startswith("Line ")
    source = json.loads(corrections.path.read_text().splitlines()[1])["source"]
    assert (source["model"], source["model_content"]) == MODEL
    assert BOOK[source["start"] :].startswith(found.context)
    assert Corrections(corrections.path).count == 2


def test_a_correction_is_undone_by_a_line_that_training_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    name, _ = corrections.add(correction("Line 7", BOOK.index("Line 7 ")), *MODEL)
    assert added(corrections, correction("", 5, "Nothing of the kind."))
    before = corrections.path.read_text()
    assert [corrections.withdraw(name), corrections.withdraw(name), corrections.withdraw("x")] == [True, False, False]
    assert corrections.path.read_text().startswith(before)  # nothing is overwritten
    assert corrections.count == Corrections(corrections.path).count == 1
    assert [example.question for example in read_examples(str(corrections.path)).examples] == ["Which?"]
    assert "which later ones replace or withdraw: 2" in caplog.text
    packed = tmp_path / "d.jsonl.gz"
    packed.write_bytes(gzip.compress(b"\xef\xbb\xbf" + corrections.path.read_bytes()))
    assert len(read_examples(str(packed)).examples) == 1
    again = Corrections(corrections.path)
    assert again.add(correction("Line 7", BOOK.index("Line 7 ")), *MODEL) == (name, True)
    assert (again.count, len(read_examples(str(corrections.path)).examples)) == (2, 2)


def test_a_file_that_was_moved_away_begins_anew_and_a_damaged_one_is_left(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    assert added(corrections, correction("Line 7", BOOK.index("Line 7 ")))
    corrections.path.rename(tmp_path / "old.jsonl")
    assert added(corrections, correction("Line 8", BOOK.index("Line 8 ")))
    assert len(corrections.path.read_text().splitlines()) == 1
    corrections.path.write_text("damaged")
    with pytest.raises(Refused) as found:
        corrections.add(correction("Line 9", BOOK.index("Line 9 ")), *MODEL)
    assert found.value.status == 503 and str(tmp_path) not in str(found.value)
    assert corrections.path.read_text() == "damaged"
    corrections.path.write_text((tmp_path / "old.jsonl").read_text() + '{"id": "torn')
    with pytest.raises(UserError, match="line 2 is no correction; repair it, or give another file"):
        Corrections(corrections.path)


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
        assert 50 < len(piece) <= PASSAGE_CHARACTERS + 50


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "elsewhere" / "c.jsonl", tmp_path / "c.jsonl"
    target.parent.mkdir()
    link.symlink_to(target)
    corrections = Corrections(link)
    for text in ("Line 7", "Line 8"):  # the second replaces the first
        assert added(corrections, correction(text, BOOK.index(f"{text} ")))
    assert link.is_symlink()
    assert [json.loads(line)["answers"]["text"] for line in target.read_text().splitlines()] == [["Line 7"], ["Line 8"]]


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    assert added(corrections, correction("Line 7", BOOK.index("Line 7 ")))
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
    assert added(corrections, correction("", 5, "Nothing of the kind."))


def test_a_file_that_an_editor_has_changed_stays_one_line_each(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    assert added(corrections, correction("Line 7", BOOK.index("Line 7 ")))
    corrections.path.write_text("\ufeff" + corrections.path.read_text().rstrip("\n"))
    for context in ("Nothing of the kind.", "Nothing else."):
        assert added(corrections, correction("", 5, context))
    assert [json.loads(line)["answers"]["text"] for line in corrections.path.read_text("utf-8-sig").splitlines()] == [
        ["Line 7"],
        [],
        [],
    ]


def test_corrections_behind_other_questions_are_read_as_in_a_file_of_their_own(tmp_path: Path) -> None:
    corrections = Corrections(tmp_path / "c.jsonl")
    for text in ("Line 7", "Line 8"):  # the second replaces the first
        assert added(corrections, correction(text, BOOK.index(f"{text} ")))
    name, _ = corrections.add(correction("", 5, "Nothing of the kind."), *MODEL)
    assert corrections.withdraw(name)
    other = {"id": "1", "question": "Who?", "context": "Ada Brill", "answers": {"text": ["Ada"], "answer_start": [0]}}
    both = tmp_path / "both.jsonl"
    both.write_text(json.dumps(other) + "\n" + corrections.path.read_text())
    read = read_examples(str(both))
    assert [example.answers[0].text for example in read.examples] == ["Ada", "Line 8"] and not read.bad


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
    return corrections.add(right, "m", "c")[1]
assert add("Line 7", 500) and add("Line 8", 500) and corrections.count == 1
assert add("Line 7", 3_000) and add("Line 7", 1_500)
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
        count = 0
        for number, text in enumerate(texts):
            count += added(service, correction(text, 0, f"{text} is here."))
            service.add(correction("Line"[number % 4], number % 4, "Line"), *MODEL)
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(add_all, services))
    lines = services[0].path.read_text().splitlines()
    assert sum(counts) == 30 and len({json.loads(line)["id"] for line in lines}) == 31
