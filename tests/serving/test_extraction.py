"""Uploaded files become texts and questions; none of them harms, hangs or fills the server."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import docx
import pyarrow
import pyarrow.parquet
import pypdf
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pydantic import TypeAdapter

from helpers.paths import ROOT
from helpers.questions import squad
from qa.errors import UserError
from qa.serving.extraction import Extractor, file_name
from qa.serving.texts import clean
from qa.serving.uploads import ExtractionLimits, FileQuestion, QuestionsResponse

TEXT = "Anna Kern founded the mill in 1912.\n\nHer son Paul sold it."
MARKDOWN = """# The *mill*

Founded by **[Anna Kern](https://kern.example "her page")** in 1912,
and sold for ~~2 \\* 3~~ `2 * 3` by_her_son.

| Day | Open |
| --- | ---: |
| **Sunday** | [10](x)–12 |

```python
mill = "**Wend**"
  river = 1
```
<script>no()</script><b>raw</b> &amp; all
"""
WORDS_OF_MARKDOWN = """The mill

Founded by Anna Kern in 1912, and sold for 2 * 3 2 * 3 by_her_son.

Day     Open\x20
Sunday  10–12

mill = "**Wend**"
  river = 1

raw & all"""
SLOW = b"BT /F 9 Tf " + b"1 0 0 1 0 0 Tm (a) Tj " * 400_000 + b"ET"  # a page that takes many seconds


@pytest.fixture(autouse=True)
def leftovers(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every test leaves no file and no process."""
    folder = tmp_path_factory.mktemp("server-folder")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = {*children()}  # of tests before this one
    yield
    assert list(folder.iterdir()) == []
    assert {*children()} <= before


def children() -> list[int]:
    """The living children of this process, zombies included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(stat.parent.name))
    return found


def read(name: str, data: bytes, **limits: Any) -> str:
    return asyncio.run(Extractor(ExtractionLimits(**limits)).extract("text", name, data)).decode()


def questions(name: str, data: bytes, **limits: Any) -> QuestionsResponse:
    answer = asyncio.run(Extractor(ExtractionLimits(**limits)).extract("questions", name, data))
    return TypeAdapter(QuestionsResponse).validate_json(answer)


def refused(name: str, data: bytes, of: Any = read, **limits: Any) -> str:
    """What is wrong with a file, without its name; one line that shows nothing of the server."""
    with pytest.raises(UserError) as error:
        of(name, data, **limits)
    message = str(error.value)
    assert message.startswith(f"{name}: ") and message.isprintable() and len(message) < 600
    assert "server-folder" not in message and str(ROOT) not in message and "Traceback" not in message
    return message.removeprefix(f"{name}: ")


def pdf(*contents: bytes, kids: str = "") -> bytes:
    """A PDF of pages with these contents; `kids`: other objects as the pages of its tree."""
    first = 4  # 1: catalog, 2: pages, 3: font
    numbers = [first + 2 * number for number in range(len(contents))]
    kids = kids or " ".join(f"{number} 0 R" for number in numbers)
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
    pages = f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode()
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", pages, font]
    for number, content in zip(numbers, contents, strict=True):
        parts = (
            f"/Parent 2 0 R /MediaBox [0 0 600 800] /Resources << /Font << /F 3 0 R >> >> /Contents {number + 1} 0 R"
        )
        packed = zlib.compress(content)
        stream = b"<< /Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream" % (len(packed), packed)
        objects += [f"<< /Type /Page {parts} >>".encode(), stream]
    out, places = io.BytesIO(b"%PDF-1.4\n"), []
    out.seek(0, io.SEEK_END)
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    xref = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, xref))
    return out.getvalue()


def shown(text: str) -> bytes:
    lines = " T* ".join(f"({line}) Tj" for line in text.split("\n"))
    return f"BT /F 12 Tf 14 TL 50 700 Td {lines} ET".encode("cp1252")


def locked(password: str) -> bytes:
    writer, out = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(shown("under lock")))), io.BytesIO()
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    writer.write(out)
    return out.getvalue()


def word(*paragraphs: str) -> bytes:
    document, out = docx.Document(), io.BytesIO()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    document.save(out)
    return out.getvalue()


def with_xml(document: bytes, begin: str, text: str) -> bytes:
    """A Word file whose XML begins so, with another text in place of "here"."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(document)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename == "word/document.xml":
                body = data.decode().partition("?>")[2].replace("here", text)
                data = f'<?xml version="1.0" encoding="UTF-8"?>{begin}{body}'.encode()
            new.writestr(entry.filename, data)
    return out.getvalue()


# texts


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.txt", TEXT.encode(), TEXT),
        ("a.TEXT", TEXT.encode("utf-8-sig"), TEXT),
        ("a.md", MARKDOWN.encode("utf-16"), WORDS_OF_MARKDOWN),
        ("a.html", b"<pre><code>if x:\n    <b>y</b>\n</code></pre>", "if x:\n    y"),
        ("a.html", b"<title>no</title><p>Anna Kern.</p><p>Her son&nbsp;Paul.</p>", "Anna Kern.\n\nHer son Paul."),
        ("a.htm", b"bare <b>bold</b><table><tr><td>a<td>b<tr><td>c<td>d</table>", "bare bold\na  b\nc  d"),
        ("a.docx", word("Anna Kern.", "Her\tson\nPaul."), "Anna Kern.\n\nHer\tson\nPaul."),
        ("a.b.pdf", pdf(shown("Anna Kern\nH\xe9r son"), b"", shown("page 3")), "Anna Kern\nH\xe9r son\n\n\n\npage 3"),
    ],
)
def test_every_kind_gives_its_text(name: str, data: bytes, text: str) -> None:
    assert read(name, data) == text.replace("\n\n\n\n", "\n\n\n")


def test_a_text_stays_as_it_is_but_for_line_ends_controls_and_runs_of_blank_lines() -> None:
    kept = "  e\u0301 \ufb01 \u212b \U0001f469\u200d\U0001f467 \u05d0\u202e\u2028\u2029\xa0\u3000\ufeff|\t\n\n\nx  \n"
    assert read("a.txt", kept.encode()) == kept
    assert read("a.txt", b"a\r\nb\rc\x00d\x1b[2Je\x7f\xc2\x85f") == "a\nb\nc d [2Je  f"
    assert read("a.txt", b"\n\n\n\n\na\n\n \t\n\n\nb\n\n\nc\n\n\n\n\n") == "\n\na\n\n\nb\n\n\nc\n\n\n"
    assert clean("\ud83d\udc69 \ud83d \udc69") == "\U0001f469 \ufffd \ufffd"
    assert read("a.html", b"a&#xD800;b&#0;c\x00d\x01e") == "a\ufffdb\ufffdc d e"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"caf\xe9", "byte 3 is not UTF-8; save it in UTF-8"),
        (b"\xed\xa0\x80", "byte 0 is not UTF-8"),
        (b"\xff\xfea\x00\x00\xd8", "is not UTF-16; save it in UTF-8"),
        (b"", "no text in it; give a file with text"),
        (b" \x00\n", "no text in it"),
        (bytes(range(256)) * 9, "is not UTF-8"),
        (b"%PDF-1.4", "a pdf by its first bytes, not .txt; name it by what it is"),
        (word("x"), "a zip archive by its first bytes, not .txt"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or protected Office file by its first bytes"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, problem: str) -> None:
    assert problem in refused("a.txt", data)


@pytest.mark.parametrize("name", ["a.exe", "noending", "a.txt.gz", "a."])
def test_other_kinds_are_refused_with_the_kinds_that_are_read(name: str) -> None:
    assert ".txt, .text, .md, .html, .htm, .docx, .pdf" in refused(name, b"x")


@pytest.mark.parametrize("kind", ["pdf", "docx"])
def test_a_text_under_another_name_and_a_damaged_file_are_refused(kind: str) -> None:
    assert "something else by its first bytes" in refused(f"a.{kind}", b"text")
    whole = pdf(shown("x")) if kind == "pdf" else word("x")
    assert "it may be damaged; get the file again" in refused(f"a.{kind}", whole[:9] + bytes(200))


@pytest.mark.parametrize(
    ("head", "encoding"),
    [("<meta charset=cp1251>", "cp1251"), ('<?xml version="1.0" encoding="koi8-r"?>', "koi8-r"), ("", "utf-16"),
     ("<meta charset=utf-16>", "utf-8"), ("<meta charset=zlib>", "utf-8"), ("<meta charset=latin-1>", "utf-8-sig")],
)  # fmt: skip
def test_a_page_is_read_in_its_encoding(head: str, encoding: str) -> None:
    assert read("a.html", f"{head}<p>мельница</p>".encode(encoding)).strip() == "мельница"


def test_scripts_and_styles_are_no_text_and_depth_loses_nothing_or_is_refused() -> None:
    page = (
        b"a<script>if (1<2) evil()</script><style>p {}</style><p onclick='evil()'>b</p><!-- c --><noscript>d</noscript>"
    )
    assert read("a.html", page).split() == ["a", "b", "d"]
    assert read("a.html", b"<div>" * 600 + b"deep" + b"</div>" * 600 + b"after").split() == ["deep", "after"]
    parts = b"a<section>b</section><section>c</section><dl><dt>d<dd>e</dl><form>f<table><td>g</table></form><hr>h"
    assert read("a.html", parts).split() == list("abcdefgh")
    assert "nested too deeply to be read; give its text as .txt" in refused("a.html", b"<div>" * 100_000 + b"deep")
    assert "no text in it" in refused("a.html", b"<!-- nothing -->")


# Word


def test_a_document_is_read_in_its_order_with_tables_controls_and_accepted_changes() -> None:
    document, out = docx.Document(), io.BytesIO()
    document.add_heading("Mill")
    table = document.add_table(2, 3)
    for number, cell in enumerate(table._cells):
        cell.text = f"c{number}"
    table.cell(1, 0).merge(table.cell(1, 1))
    table.cell(0, 2).add_paragraph("more")
    last = document.add_paragraph("End")
    for xml in (
        "<w:ins {}><w:r><w:t> put in</w:t></w:r></w:ins>",
        "<w:del {}><w:r><w:delText>taken out</w:delText></w:r></w:del>",
        "<w:sdt {}><w:sdtContent><w:r><w:t> filled in</w:t></w:r></w:sdtContent></w:sdt>",
    ):
        last._p.append(parse_xml(xml.format(nsdecls("w"))))
    box = "<mc:Choice Requires='x'>{0}</mc:Choice><mc:Fallback>{0}</mc:Fallback>".format(
        "<w:r><w:t> in a box</w:t></w:r>"
    )
    office = "http://schemas.openxmlformats.org/markup-compatibility/2006"
    last._p.append(parse_xml(f"<mc:AlternateContent {nsdecls('w')} xmlns:mc='{office}'>{box}</mc:AlternateContent>"))
    document.save(out)
    lines = [line for line in read("a.docx", out.getvalue()).splitlines() if line]
    assert lines == ["Mill", "c0\tc1\tc2 more", "c3 c4\tc5", "End put in filled in in a box"]


def test_entities_of_a_document_are_neither_fetched_nor_multiplied(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    outside = f'<!DOCTYPE d [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
    assert read("a.docx", with_xml(word("before", "here"), outside, "&x;")).split() == ["before"]
    laughs = "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10}">' for n in range(1, 10))
    data = with_xml(word("before", "here"), f'<!DOCTYPE d [<!ENTITY x0 "ha">{laughs}]>', "&x9;")
    assert "cannot be read" in refused("a.docx", data, memory=256 << 20)


@pytest.mark.parametrize("bomb", ["large", "many", "lying"])
def test_a_zip_bomb_is_refused(bomb: str) -> None:
    out = io.BytesIO(word("x"))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10_001 if bomb == "many" else 0):
            archive.writestr(str(number), b"")
        if bomb == "large":
            archive.writestr("word/large.xml", bytes(100_000_000))
        if bomb == "lying":  # about its size, in its directory
            warnings.simplefilter("ignore")  # of a name that is there twice
            archive.writestr("[Content_Types].xml", bytes(150_000_000))
            archive.getinfo("[Content_Types].xml").file_size = 1000
    problem = refused("a.docx", out.getvalue(), memory=256 << 20)
    assert (
        "within 0.25 GiB of memory" if bomb == "lying" else "unpacks to more than 100 MB or 10,000 files"
    ) in problem


# PDF


def test_pages_are_limited_and_a_password_is_needed() -> None:
    many = pdf(*[shown("x")] * 30)
    assert read("a.pdf", many, pages=30).split() == ["x"] * 30
    assert refused("a.pdf", many, pages=29) == "has 30 pages, more than 29; give it in parts"
    assert "scanned" in refused("a.pdf", pdf(b"", b""))
    assert read("a.pdf", locked("")) == "under lock"
    assert refused("a.pdf", locked("secret")) == "needs a password; save it without one"


def test_a_thousand_pages_is_the_most() -> None:
    assert "has 1,001 pages, more than 1,000" in refused("a.pdf", pdf(*[b""] * 1001))


def test_a_page_that_unpacks_to_gigabytes_is_refused() -> None:
    bomb = pdf(bytes(100_000_000))
    assert len(bomb) < 200_000
    assert refused("a.pdf", bomb) == "unpacks to far more than a text takes; give its text as .txt"


def test_a_tree_of_pages_that_goes_round_ends() -> None:
    assert "cannot be read" in refused("a.pdf", pdf(shown("x"), kids="2 0 R 2 0 R 2 0 R"))


def test_a_file_that_takes_too_long_is_given_up() -> None:
    assert refused("big.pdf", pdf(SLOW), seconds=0.7) == "took more than 0.7 s to read; give its text as .txt"


# limits


def test_a_text_of_too_many_characters_is_refused() -> None:
    assert len(read("a.txt", "é".encode() * 5_000_000)) == 5_000_000
    assert refused("a.txt", "é".encode() * 5_000_001) == "holds more than 5,000,000 characters; give it in parts"
    assert len(read("a.txt", ("\U0001f469" * 1_000_000).encode(), characters=1_000_000)) == 1_000_000


def test_a_file_that_takes_too_much_memory_is_refused() -> None:
    assert refused("a.txt", bytes(100 << 20), memory=128 << 20) == (
        "cannot be read within 0.125 GiB of memory; give it in parts"
    )


FAKES = {
    "exec yes": "holds more than 10,000 characters",
    "sleep 61.07 & sleep 61.07": "took more than 1 s",
    "exec >&-; sleep 61.07": "took more than 1 s",
    "exit 3": "cannot be read within 1 GiB of memory; give it in parts",
    "kill -KILL $$": "cannot be read within 1 GiB of memory",
    "kill -XCPU $$": "took more than 1 s",
    "echo Traceback": "cannot be read within 1 GiB of memory",
    """echo '{"text": 5}'""": "cannot be read within 1 GiB of memory",
    r"""echo '{"text": "\ud800"}'""": "cannot be read within 1 GiB of memory",
}


@pytest.mark.parametrize("script", FAKES)
def test_whatever_the_process_does_the_server_says_it_in_one_line(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    begin = time.monotonic()
    assert FAKES[script] in refused("a.txt", bytes(1 << 20), seconds=1, characters=10_000)
    assert time.monotonic() - begin < 6
    assert processes(str(fake)) == [] and processes("sleep 61.07") == []


def processes(words: str) -> list[str]:
    """The command lines of all processes that hold these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [line] if words in line else []
    return found


@pytest.mark.parametrize("after", [0.0, 0.01, 0.05, 0.5])
def test_a_request_that_is_cancelled_kills_its_process(after: float) -> None:
    async def cancelled() -> float:
        task = asyncio.create_task(Extractor().extract("text", "cancelled.pdf", pdf(SLOW)))
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return len(processes("cancelled.pdf"))

    assert asyncio.run(cancelled()) == 0


def test_two_files_are_read_at_a_time_and_a_failure_makes_room() -> None:
    async def most() -> tuple[int, list[Any]]:
        extractor = Extractor(ExtractionLimits(seconds=0.6))
        names = [f"crowd{number}.pdf" for number in range(4)]
        tasks = [asyncio.create_task(extractor.extract("text", name, pdf(SLOW))) for name in names]
        seen = 0
        while not all(task.done() for task in tasks):
            seen = max(seen, len(processes("crowd")))
            await asyncio.sleep(0.02)
        return seen, await asyncio.gather(*tasks, return_exceptions=True)

    seen, ends = asyncio.run(most())
    assert seen == 2 and all(isinstance(end, UserError) for end in ends)


CONFINED = """
import os, resource, sys
from qa.serving.documents import ExtractionLimits, confine
confine(ExtractionLimits(), writes=False)
confine(ExtractionLimits(memory=8 << 30, seconds=99), writes=False)  # for good
print([resource.getrlimit(r) for r in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_CORE,
       resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC)])
for attempt in (lambda: bytes(2 << 30), lambda: open(sys.argv[1], "w").write("x" * 99999)):
    try:
        attempt()
    except (MemoryError, OSError) as error:
        print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has fewer limits")
def test_the_process_confines_itself_for_good(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONFINED, str(tmp_path / "file")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    limits = [(1 << 30, 1 << 30), (22, 22), (0, 0), (64, 64), (0, 0), (0, 0)]
    assert done.stdout.splitlines() == [str(limits), "MemoryError", "OSError"], done.stderr


def test_the_limit_of_cpu_time_ends_the_process() -> None:
    code = "from qa.serving.documents import *; confine(ExtractionLimits(seconds=0.5), writes=False)\nwhile True: pass"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60).returncode == -signal.SIGXCPU


def test_nothing_of_the_server_reaches_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "secret")
    fake = tmp_path / "python"
    words = "$(env | sort | cut -d= -f1 | tr '\\n' ' ')"
    fake.write_text(f"#!/bin/bash\nPATH=/usr/bin:/bin\nprintf '{{}}\\n%s' \"{words}\"\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    names = set(read("a.txt", b"x").split()) - {"PWD", "SHLVL", "_", "OLDPWD", "PATH"}
    assert names == {
        "ARROW_DEFAULT_MEMORY_POOL", "MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "PYTHONPATH", "PYTHONSAFEPATH", "TMPDIR",
    }  # fmt: skip


def test_a_text_is_read_without_heavy_imports() -> None:
    code = """
import sys
from qa.serving.documents import *
text_of(Upload(sys.argv[1], sys.stdin.buffer.read(), ExtractionLimits()))
heavy = {"torch", "transformers", "lightning", "hydra", "numpy", "pydantic", "pyarrow", "asyncio", "rich"}
parsers = {"pypdf", "docx", "lxml", "inscriptis", "markdown_it"}
print(sorted(heavy & set(sys.modules)), sorted(parsers & set(sys.modules)))
"""
    pages = {"a.txt": (b"x", []), "a.html": (b"x", ["inscriptis", "lxml"]), "a.docx": (word("x"), ["docx", "lxml"]),
             "a.pdf": (pdf(shown("x")), ["pypdf"]), "a.md": (b"x", ["inscriptis", "lxml", "markdown_it"])}  # fmt: skip
    for name, (data, parsers) in pages.items():
        done = subprocess.run([sys.executable, "-c", code, name], cwd=ROOT, input=data, capture_output=True)
        assert done.stdout.decode().strip() == f"[] {parsers}", done.stderr


# cards


@pytest.mark.parametrize(
    ("name", "data", "cards", "bad"),
    [
        (
            "quizlet.txt",
            'Hund\tdog\n"Katze" x\tcat\nnur\nHund\thound\n',
            {"Hund": ["dog", "hound"], '"Katze" x': ["cat"]},
            1,
        ),
        ("anki.txt", '#separator:Comma\n#guid column:1\nx,"a, b",c\n', {"a, b": ["c"]}, 0),
        (
            "anki.txt",
            "#separator:tab\n#html:true\nWho&nbsp;is <b>it</b>?\tAda<br>B.\ttag\n",
            {"Who is it?": ["Ada B."]},
            0,
        ),
        ("quizlet.txt", "#1: Hund\tdog\nKatze\tcat\n", {"#1: Hund": ["dog"], "Katze": ["cat"]}, 0),
        ("a.csv", "Front,Back,Tags\nWho?,Ada,\n", {"Who?": ["Ada"]}, 0),
        ("a.csv", "id,answer,question\n1,Ada,Who?\n", {"Who?": ["Ada"]}, 0),
        ("a.csv", "Hund,dog\nKatze,cat\nIgel,\n", {"Hund": ["dog"], "Katze": ["cat"]}, 1),
    ],
)
def test_cards_need_no_text(name: str, data: str, cards: dict[str, list[str]], bad: int) -> None:
    found = questions(name, data.encode("utf-8-sig"))
    assert {question.question: question.answers for question in found.questions} == cards
    assert (found.contexts, found.bad, {question.context for question in found.questions}) == ([""], bad, {0})


def test_sentences_with_commas_are_no_cards() -> None:
    with pytest.raises(UserError):
        questions("letter.txt", b"The office is closed, and open.\nIt is, so, fine.\n")
    with pytest.raises(UserError):
        questions("texts.csv", b"".join(b"Who?,%s\n" % (b"A text. " * 30) for _ in range(3)))


# names


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("..\\..\\C:\\passwd.txt", "passwd.txt"),
        ("/etc/", "unnamed"), ("..", "unnamed"), ("", "unnamed"), ("\n", "unnamed"),
        ("<script>alert(1)<b>.txt", "<script>alert(1)<b>.txt"),
        ("a\x00\x1b[2J\u0085.txt", "a␀␛[2J .txt"),
        ("a\nb\t.txt", "a b .txt"),
        ("-c import os.txt", "-c import os.txt"), ("--help.txt", "--help.txt"), ("-.txt", "-.txt"),
        ("$(touch x);`id`&.txt", "$(touch x);`id`&.txt"),
        ("\ud800.txt", "?.txt"),
        ("Mühle 製粉所.txt", "Mühle 製粉所.txt"),
        ("x" * 300 + ".txt", "x" * 160 + "…" + "x" * 26 + ".txt"),
        ("製" * 300 + ".txt", "製" * 53 + "…" + "製" * 8 + ".txt"),
    ],
)  # fmt: skip
def test_a_name_is_the_last_of_a_path_and_harmless(given: str, name: str) -> None:
    assert file_name(given) == name and len(name.encode()) <= 200


@pytest.mark.parametrize(
    "given", ["../../etc/passwd.txt", "-c import os.txt", "--help.txt", "$(touch x)\n.txt", "\ud800.txt"]
)
def test_a_name_is_nothing_but_a_name_to_the_process(given: str) -> None:
    assert read(given, b"x") == "x"
    with pytest.raises(UserError) as error:
        read(given, b"\xff")
    assert str(error.value) == f"{file_name(given)}: byte 0 is not UTF-8; save it in UTF-8"


# questions

CONTEXT = "Anna Kern founded the mill in 1912."
ROW = {"id": "1", "question": "Who founded it?", "context": CONTEXT, "answer": "Anna Kern"}
FOUND = FileQuestion(id="1", question="Who founded it?", context=0, answers=["Anna Kern"], language=None)


def parquet(row: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.json", json.dumps(squad((CONTEXT, [("1", "Who founded it?", "Anna Kern")]))).encode()),
        ("../a.jsonl", json.dumps(ROW).encode()),
        ("a.csv", f'id,question,context,answer\n1,Who founded it?,"{CONTEXT}",Anna Kern\n'.encode("utf-16")),
        ("a.tsv", f"id\tquestion\tcontext\tanswer\n1\tWho founded it?\t{CONTEXT}\tAnna Kern\n".encode()),
        ("a.parquet", parquet(ROW)),
    ],
)
def test_question_files_of_every_kind_give_the_same(name: str, data: bytes) -> None:
    assert questions(name, data) == QuestionsResponse(questions=[FOUND], contexts=[CONTEXT], bad=0, messages=[])


def test_a_question_is_unanswerable_only_where_the_file_says_so() -> None:
    row = {key: value for key, value in ROW.items() if key != "answer"}
    problem = refused("a.jsonl", json.dumps(row).encode(), questions)
    assert "it has no answer (there: id, question, context); call it 'answer', or mark it as unanswerable" in problem
    unanswerable: list[dict[str, Any]] = [{"answers": []}, {"answer": "Anna Kern", "is_impossible": True}]
    for fields in unanswerable:
        (found,) = questions("a.jsonl", json.dumps({**row, **fields}).encode()).questions
        assert found.answers == []


def test_the_language_is_that_of_the_name() -> None:
    (german,) = questions("a.de.jsonl", json.dumps(ROW).encode()).questions
    assert german == replace(FOUND, language="de")
    two = [{**ROW, "id": "1"}, {**ROW, "id": "2"}]
    found = questions("a.json", json.dumps(two).encode())
    assert found.questions == [FOUND, replace(FOUND, id="2")] and found.contexts == [CONTEXT]


def test_bad_records_are_counted_and_twenty_of_them_named() -> None:
    lines = [
        json.dumps(ROW),
        '{"id": ',
        *[json.dumps({**ROW, "question": " ", "id": "x" * 9999})] * 30,
        json.dumps(ROW),
    ]
    found = questions("ask <b>.jsonl", "\n".join(lines).encode())
    assert (len(found.questions), len(found.messages), found.bad) == (2, 20, 31)
    assert found.messages[0].startswith("ask <b>.jsonl: line 2: not JSON (") and max(map(len, found.messages)) <= 300
    row = {"id": "1", "context": CONTEXT, "answer": "x"}
    problem = refused("a.jsonl", json.dumps(row).encode(), questions)
    there = "(there: id, context, answer)"
    assert f"(a.jsonl: line 1 (id '1'): the field 'question' is missing {there}; call it 'question')" in problem


LABELS = b'{"text": "Ada built it.", "question": "Who?", "label": [[0, 3, "ANSWER"], [4, 9, "EVIDENCE"]]}'


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.json", b"{", "not JSON at line 1"),
        ("a.json", b"[" * 100_000, "JSON nested too deeply"),
        ("a.json", b"[]", "no question in it that can be asked; give a file that holds some"),
        (
            "a.csv",
            b"q,text\n1,2\n",
            "no columns 'question' and 'context' (there: q, text); call it 'question' and call it 'context'",
        ),
        ("a.jsonl", LABELS, "spans have several labels ('ANSWER', 'EVIDENCE')"),
        ("a.csv", b"question,context\ncaf\xe9,x\n", "is not UTF-8"),
        ("a.parquet", b"PAR1nothing", "cannot be read"),
        ("a.xlsx", b"PK", "a spreadsheet; save it as CSV"),
        ("a.txt", b"x", "unknown kind of file; name it .json (SQuAD)"),
        ("a.txt", b"#separator:two\na\tb", "export it again, separated by tabs"),
        ("unnamed", b"x", "unknown kind of file"),
        ("a.jsonl.gz", b"\x1f\x8bx", "cannot be read"),
    ],
)
def test_question_files_that_cannot_be_read_are_refused(name: str, data: bytes, problem: str) -> None:
    said = refused(name, data, questions)
    assert problem in said and "data." not in said  # no setting of train.py


def test_questions_are_limited_as_texts_are() -> None:
    many = "\n".join(json.dumps({**ROW, "id": str(number)}) for number in range(1000)).encode()
    assert len(questions("a.jsonl", many, characters=60_000).questions) == 1000
    assert "holds more than 30,000 characters" in refused("a.jsonl", many, questions, characters=30_000)
    bomb = zlib.compress(b"[[" + b"{}," * 10_000_000 + b"{}]]", wbits=31)
    assert "within 0.25 GiB of memory; give it in parts" in refused("a.json.gz", bomb, questions, memory=256 << 20)
