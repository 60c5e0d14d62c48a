"""An uploaded file → its plain text: txt, Markdown, html, docx and pdf, read in the process of `documents.py`."""

import codecs
import re
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO

from qa.errors import CONTROLS, UserError
from qa.serving.uploads import Upload, ending, remedy, too_long

ZIP_ENTRIES, ZIP_UNPACKED = 10_000, 100_000_000  # files in a .docx, their bytes

MAGIC = {b"%PDF-": "a pdf", b"PK\x03\x04": "a zip archive", b"\xd0\xcf\x11\xe0": "an old or protected Office file"}
EXPECTED_CONTENT = {"pdf": "a pdf", "docx": "a zip archive"}
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
# encodings that a page names → encodings by which browsers read it: its bytes can be searched, so it is no UTF-16
BROWSERS = {"ascii": "cp1252", "iso8859-1": "cp1252", **dict.fromkeys(("utf-16", "utf-16-le", "utf-16-be"), "utf-8")}
SPACES = str.maketrans({code: " " for code in CONTROLS if code != ord("\r")})
BLANK_LINES = re.compile(r"(\A|\n)(?:[^\S\n]*\n){3,}")
# blocks of a page that inscriptis takes for a part of the line, joining words
BLOCKS = "caption center dd details dl dt fieldset form hr legend option section summary"
PHRASES = ("a", "b", "code", "em", "i", "kbd", "samp", "span", "strong", "var")  # in <pre> they keep its lines

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
PARAGRAPH, ROW, CELL = f"{W}p", f"{W}tr", f"{W}tc"
LINE_ENDS = {("start", PARAGRAPH), ("end", PARAGRAPH), ("start", ROW), ("end", f"{W}tbl")}
INLINE = {f"{W}t": "", f"{W}tab": "\t", f"{W}br": "\n", f"{W}cr": "\n", f"{W}noBreakHyphen": "-"}  # "": its own text
REPEATED = {f"{W}moveFrom", "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"}  # is elsewhere too


def text_of(file: Upload) -> str:
    """The plain text of a file, by the end of its name. Errors: UserError, and those of the parsers."""
    kind = ending(file.name)
    if kind not in READERS:
        problem = f".{kind} is not read" if kind else "its name has no ending"
        raise UserError(f"{file.name}: {problem}; give a file of one of {', '.join(f'.{name}' for name in READERS)}")
    content = next((content for begin, content in MAGIC.items() if file.data.startswith(begin)), None)
    if content != EXPECTED_CONTENT.get(kind):
        problem = f"{content or 'something else'} by its first bytes, not .{kind}"
        raise UserError(f"{file.name}: {problem}; name it by what it is, or give its text as .txt")
    pieces, left = [], file.limits.characters
    for piece in READERS[kind](file):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            raise UserError(too_long(file.name, file.limits))
    text = clean("".join(pieces))
    text = text if READERS[kind] is plain_text else text.strip()
    if not text.strip():
        hint = "a scanned pdf has pictures only, which OCR reads" if kind == "pdf" else "give a file with text"
        raise UserError(f"{file.name}: no text in it; {hint}")
    return text


def clean(text: str) -> str:
    r"""The text with "\n" line ends, at most two blank lines in a row, no other controls than tabs, no half letters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(SPACES)
    try:
        text.encode()
    except UnicodeEncodeError:  # two halves of a surrogate pair become their letter, one alone U+FFFD
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return BLANK_LINES.sub(r"\1\n\n", text)


def plain_text(file: Upload) -> Iterator[str]:
    """The text of a file that has nothing else. Errors: UserError."""
    encoding = "UTF-16" if file.data.startswith(UTF_16) else "UTF-8"
    try:
        yield file.data.decode("utf-8-sig" if encoding == "UTF-8" else encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{file.name}: byte {error.start} is not {encoding}; save it in UTF-8") from None


def _markdown(file: Upload) -> Iterator[str]:
    from markdown_it import MarkdownIt

    text = clean("".join(plain_text(file)))
    yield from words_of(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


def words_of(page: str) -> Iterator[str]:
    """The text that a browser shows of a page of HTML."""
    from inscriptis import Inscriptis, ParserError, document_fromstring
    from inscriptis.css_profiles import STRICT_CSS_PROFILE as STRICT
    from inscriptis.model.config import ParserConfig
    from inscriptis.model.html_element import HtmlElement
    from lxml.html import HTMLParser

    phrases = dict.fromkeys(PHRASES, HtmlElement(whitespace=None))
    css = {**STRICT, **dict.fromkeys(BLOCKS.split(), STRICT["div"]), **phrases, "template": STRICT["script"]}
    text = clean(page).encode(errors="replace")
    try:  # without huge_tree, elements nested deeper than 256 would be left out in silence
        tree = document_fromstring(text, parser=HTMLParser(encoding="utf-8", huge_tree=True))
    except ParserError:  # no element and no word
        return
    for table in list(tree.iter("table")):
        table.addprevious(tree.makeelement("div"))  # else its first cell would join the word before it
    yield Inscriptis(tree, ParserConfig(css=css)).get_text()


def _decoded(file: Upload) -> str:
    """A page's text: by its BOM, else in the encoding that the page names, else in UTF-8. Errors: UserError."""
    if (named := CHARSET.search(file.data[:4096])) and not file.data.startswith((*UTF_16, codecs.BOM_UTF8)):
        try:
            encoding = codecs.lookup(named[1].decode()).name
            return file.data.decode(BROWSERS.get(encoding, encoding), "replace")
        except (LookupError, UnicodeError):
            pass  # no encoding of texts
    return "".join(plain_text(file))


def _docx(file: Upload) -> Iterator[str]:
    with zipfile.ZipFile(BytesIO(file.data)) as archive:
        sizes = [entry.file_size for entry in archive.infolist()]
    if len(sizes) > ZIP_ENTRIES or sum(sizes) > ZIP_UNPACKED:
        most = f"{ZIP_UNPACKED // 1_000_000} MB or {ZIP_ENTRIES:,} files"
        raise UserError(f"{file.name}: unpacks to more than {most}; {remedy(file.name)}")
    from docx import Document
    from lxml.etree import iterwalk

    walk = iterwalk(Document(BytesIO(file.data)).element.body, events=("start", "end"))
    for event, element in walk:
        tag = element.tag
        if event == "start" and tag in REPEATED:
            walk.skip_subtree()
        elif event == "start" and tag in INLINE:
            yield INLINE[tag] or element.text or ""
        elif event == "start" and tag == CELL:
            yield "\t" if element.getprevious() is not None and element.getprevious().tag == CELL else ""
        elif tag == PARAGRAPH and element.getparent().tag == CELL:  # a row is one line
            yield " " if event == "end" and element.getnext() is not None else ""
        elif (event, tag) in LINE_ENDS:
            yield "\n"


def _pdf(file: Upload) -> Iterator[str]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, LimitReachedError

    try:
        reader = PdfReader(BytesIO(file.data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise UserError(f"{file.name}: needs a password; save it without one")
        if (pages := len(reader.pages)) > file.limits.pages:
            raise UserError(f"{file.name}: has {pages:,} pages, more than {file.limits.pages:,}; give it in parts")
        for number, page in enumerate(reader.pages):
            yield ("\n\n" if number else "") + page.extract_text()
    except DependencyError:
        raise UserError(f"{file.name}: is encrypted; save it without protection") from None
    except LimitReachedError:
        raise UserError(f"{file.name}: unpacks to far more than a text takes; {remedy(file.name)}") from None


READERS: dict[str, Callable[[Upload], Iterator[str]]] = {
    **dict.fromkeys(("txt", "text"), plain_text),
    "md": _markdown,
    **dict.fromkeys(("html", "htm"), lambda file: words_of(_decoded(file))),
    "docx": _docx,
    "pdf": _pdf,
}
