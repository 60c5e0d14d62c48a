"""`python -m qa.check`: what is wrong with a file is found, counted and shown with its places."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.paths import MINILM, ROOT, real_data
from helpers.questions import squad
from qa.check import main
from qa.console import Terminal
from qa.data.example import Example
from qa.data.quality.fixed_file import write_fixed
from qa.data.quality.inspection import GARBLED, LISTED, REPEAT, Finding, findings
from qa.data.quality.mojibake import restored_examples
from qa.data.quality.near_duplicates import near_duplicates
from qa.data.reading.checked import Examples
from qa.data.reading.examples import check_records, read_examples
from qa.data.reading.records import read_records
from qa.errors import UserError
from qa.model.answering import Answering
from qa.review.data_report import in_words

MILL = (
    "The old mill stands beside the river Tollense, and Anna Kern founded it in 1912 with Paul after the great flood."
)
BRIDGE = "A bridge of grey stone was raised over the valley by Ada Brill, long before the railway reached the town."
ARABIC = "قامت آنا ببناء الطاحونة القديمة في عام 1912 مع شقيقها بول بعد الفيضان الكبير"


def check(monkeypatch: pytest.MonkeyPatch, *words: str | Path, width: int = 200) -> tuple[int, str]:
    """Status and output of the door."""
    output = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["qa.check", *map(str, words)])
    monkeypatch.setattr("qa.check.console", Terminal(file=output, width=width, highlight=False, markup=False))
    return main(), "\n".join(map(str.rstrip, output.getvalue().split("\n")))


def write(path: Path, data: Any) -> Path:
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return path


def test_a_clean_file_is_shown_with_status_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [("a", "Who founded it?", "Anna Kern"), ("b", "What burnt?", "")]
    path = write(tmp_path / "x.json", squad((MILL, asked), (BRIDGE, [("c", "Who raised it?", "Ada Brill")])))
    status, shown = check(monkeypatch, path)
    assert status == 0 and shown.startswith(f"{path}\n") and "nothing wrong" in shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[1:4] == [
        "questions 3, 1 of them without an answer",
        "contexts 2, of 1 article",
        "languages en (3), recognised from the texts",
    ]
    assert f"contexts, characters {len(MILL)} {len(MILL)} {len(MILL)}" in lines and "answers, words 2 2 2" in lines


PLANTED = squad(
    (MILL, [("a", "Who founded it?", "Anna Kern"), ("b", "When?", "1912"), ("c", "Who founded it?", "Anna Kern"),
            ("d", "who  founded it?", "Paul"), ("e", "Which river?", "Tollens"), ("f", "Why?", "the great flood")]),
    (MILL.replace("great", "big"), [("g", "Which flood?", "the big flood")]),
    (ARABIC, [("h", "متى بنيت الطاحونة؟", "1912"), ("i", "من؟", "آنا"), ("i", "مع من؟", "بول")]),
    (BRIDGE.replace("grey", "grÃ©y"), [("j", "Who raised it?", "Ada Brill")]),
)  # fmt: skip
PLANTED["data"][0]["paragraphs"][0]["qas"][1]["answers"][0]["answer_start"] += 2
PLANTED["data"][0]["paragraphs"][0]["qas"][5]["answers"][0]["text"] = "a drought"
PLANTED["data"][0]["paragraphs"][2]["qas"][0]["answers"] = [{"text": "", "answer_start": 0}]
SAID = """
misplaced answer: 1 of 11 records (9.1%), left out by --fix
   article 0, paragraph 0, question 5 (id 'f'): the answer 'a drought' is not at answer_start 96 (there: 'the great')

answer near its place: 1 of 9 references (11.1%), repaired by --fix
   article 0, paragraph 0, question 1 (id 'b'): '1912' at 77 → '1912' at 75

repeated id: 1 of 10 questions (10.0%), repaired by --fix
   article 0, paragraph 2, question 2 (id 'i'): 'i' → 'i-2'

question with an empty answer, taken as unanswerable: 1 of 10 questions (10.0%), repaired by --fix
   article 0, paragraph 2, question 0 (id 'h')

garbled letters: 1 of 10 questions (10.0%), repaired by --fix
   id 'j': 'idge of grÃ©y stone was raised' → 'idge of gréy stone was raised '

question that repeats another one, with its answers: 1 of 10 questions (10.0%), left out by --fix
   id 'c' repeats id 'a'

question with answers that contradict each other: 1 of 10 questions (10.0%), not changed by --fix
   'who  founded it?': 'Anna Kern' (id 'a') and 'Paul' (id 'd')

answer that begins or ends inside a word: 1 of 10 questions (10.0%), not changed by --fix
   id 'e': 'Tollens' in 'the river Tollense, and Ann'

context nearly like one before it: 1 of 4 contexts (25.0%), not changed by --fix
   'The old mill stands beside the river …' (id 'g'), 81% like that of id 'a'
"""


def test_each_kind_of_fault_is_counted_with_its_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, shown = check(monkeypatch, write(tmp_path / "x.json", PLANTED))
    assert status == 1
    assert shown[shown.index("\nmisplaced answer") :].rstrip() == SAID.rstrip()


def test_three_places_are_shown_also_in_a_narrow_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = [(f"q{n}", f"متى بنيت الطاحونة {n}؟", "شقيق") for n in range(5)]
    data = squad((ARABIC, cut))
    for question in data["data"][0]["paragraphs"][0]["qas"]:
        question["answers"][0]["answer_start"] -= 3
    status, shown = check(monkeypatch, write(tmp_path / "x.json", data), width=40)
    assert status == 1 and max(map(len, shown.splitlines())) <= 40
    words = " ".join(shown.split())
    assert "answer near its place: 5 of 5 references (100.0%), repaired by --fix" in words
    assert "(id 'q2'): 'شقيق'" in words and "(id 'q3')" not in words and words.endswith("and 2 more")


def test_what_is_shared_with_training_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = squad((MILL, [("1", "Who founded it?", "")]), (BRIDGE, [("2", "Who raised it?", "Ada Brill")]))
    del train["data"][0]["paragraphs"][1]["qas"][0]["answers"]  # which a comparison does not need
    shared = (MILL.upper(), [("a", "who founded it?", "ANNA"), ("b", "When?", "1912")])
    nearly = (BRIDGE.replace("town", "village"), [("c", "Who raised it?", "Ada Brill")])
    files = write(tmp_path / "dev.json", squad(shared, nearly)), write(tmp_path / "train.json", train)
    status, shown = check(monkeypatch, files[0], "--against", files[1])
    assert status == 1
    for said in (
        "question that --against asks, too: 1 of 3 questions (33.3%), not changed by --fix\n   id 'a'\n",
        "question on a context that --against has, too: 1 of 3 questions (33.3%), not changed by --fix\n   id 'b'\n",
        "context nearly like one of --against: 1 of 2 contexts (50.0%), not changed by --fix\n"
        "   'A bridge of grey stone was raised ove…' (id 'c'), 89% like that of id '2'\n",
    ):
        assert said in shown
    assert check(monkeypatch, files[0])[0] == 0


def test_lengths_windows_and_the_ceiling_are_those_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "config.json", "special_tokens_map.json"):
        if (MINILM / name).exists():
            (model / name).symlink_to(MINILM / name)
    Answering(max_length=24, stride=4, max_answer_length=3).save(model)
    long = "Who " + "really " * 20 + "founded it?"
    asked = [
        ("a", "Who founded it?", "Anna Kern"),
        ("b", long, "Anna Kern"),
        ("c", "When?", "1912 with Paul after the"),
    ]
    path = write(tmp_path / "x.json", squad((MILL, asked)))
    status, shown = check(monkeypatch, path, "--model", model)
    assert status == 1
    assert "windows    4 of at most 24 tokens, which share 4" in shown and "ceiling    EM 50.00, F1 " in shown
    assert (
        "question too long for windows of 24 tokens: 1 of 3 questions (33.3%), not changed by --fix\n   id 'b'" in shown
    )
    assert "answer of more than 3 tokens, which is never predicted: 1 of 3 questions" in shown
    assert "contexts, tokens" in shown
    with pytest.raises(UserError, match=r"no such folder|no tokenizer"):
        check(monkeypatch, path, "--model", tmp_path / "nothing")


def test_a_file_that_cannot_be_read_has_status_2_and_its_columns_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("Frage,Text,Antwort\nWann?,Es war 1912.,1912\n")
    done = subprocess.run(
        [sys.executable, "-m", "qa.check", str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"ERROR: {path}: no columns") or "no column" in done.stderr
    assert "--column context=NAME" in done.stderr and "Traceback" not in done.stderr
    columns = ("--column", "question=Frage", "--column", "context=Text", "--column", "answer=Antwort")
    assert check(monkeypatch, path, *columns)[0] == 0
    with pytest.raises(UserError, match="no question in it"):
        check(monkeypatch, write(tmp_path / "empty.json", {"data": []}))
    path.write_text("question,context,answer\nWann?,Es war 1912.,1913\n")
    status, shown = check(monkeypatch, path)
    assert status == 1 and "no question that can be used" in shown
    assert "answer not located: 1 of 1 record (100.0%), left out by --fix" in shown


def test_answers_that_meet_do_not_contradict_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [("a", "Who?", "Anna Kern"), ("b", "Who?", "Kern"), ("c", "Who?", "and Anna Kern founded it")]
    assert check(monkeypatch, write(tmp_path / "x.json", squad((MILL, asked))))[0] == 0
    asked = [("a", "Who?", "Anna Kern"), ("b", "Who?", "")]
    status, shown = check(monkeypatch, write(tmp_path / "y.json", squad((MILL, asked))))
    assert status == 1 and "'Who?': 'Anna Kern' (id 'a') and no answer (id 'b')" in shown


def test_ids_that_restart_fields_and_garbled_answers_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mill, bridge = MILL.replace("Anna", "Änna"), BRIDGE
    asked = [("0", "Who?", "Ada Brill"), ("1", "Of what?", "grey stone")]
    data = squad((mill, [("0", "Who?", "Änna Kern"), ("1", "When?", "1912")]), (bridge, asked))
    questions = [q for paragraph in data["data"][0]["paragraphs"] for q in paragraph["qas"]]
    questions[0]["answers"][0]["text"] = "Ã„nna Kern"
    questions[1] |= {"source": "book", "level": 2}
    status, shown = check(monkeypatch, write(tmp_path / "x.json", data), "--fix", tmp_path / "y.json")
    assert status == 1
    assert "answer with garbled letters: 1 of 4 references (25.0%), repaired by --fix" in shown
    assert "id that restarts in every paragraph: 4 of 4 questions (100.0%), repaired by --fix" in shown
    assert "y.json: 4 questions; 5 changes, listed in" in shown
    assert "fields that are not in it: 'source' of 1 record, 'level' of 1 record" in shown.replace("\n", " ")
    fixed = read_examples(str(tmp_path / "y.json")).examples
    answers = {"0.0/0": "Änna Kern", "0.0/1": "1912", "0.1/0": "Ada Brill", "0.1/1": "grey stone"}
    assert {e.id: e.answers[0].text for e in fixed} == answers


def test_faults_of_references_and_of_refused_records_are_no_more_than_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = MILL.index("1912")
    lost = {"text": "1912", "answer_start": at + 3}
    data = squad((MILL, [("a", "When?", "1912")]), (BRIDGE, [("b", "Who?", "Ada Brill")]))
    data["data"][0]["paragraphs"][0]["qas"][0]["answers"] = [lost, lost, lost]
    _, shown = check(monkeypatch, write(tmp_path / "x.json", data))
    assert "answer near its place: 3 of 4 references (75.0%)" in shown
    data["data"][0]["paragraphs"] = [{"context": MILL, "qas": [{"id": "a", "question": " ", "answers": [lost]}]}]
    status, shown = check(monkeypatch, write(tmp_path / "x.json", data))
    assert status == 1 and "answer near its place: 1 of 1 reference (100.0%)" in shown


def test_texts_without_a_word_are_not_alike() -> None:
    assert list(near_duplicates(["?!", "…", "-"])) == []
    assert len(list(near_duplicates(["two words", "Two words!"]))) == 1


@pytest.mark.parametrize(
    ("count", "total", "share"),
    [(1, 3, "33.3%"), (3, 3, "100.0%"), (2_999, 3_000, "over 99.9%"), (1, 3_000, "under 0.1%"), (1, 2_000, "0.1%")],
)
def test_a_share_is_100_percent_only_where_all_are_meant(count: int, total: int, share: str) -> None:
    output = io.StringIO()
    Terminal(file=output, width=200, highlight=False, markup=False).print(
        in_words(Finding("torn answer", ["here"] * count, (total, "question"), LISTED))
    )
    assert f" questions ({share}), " in output.getvalue()


@pytest.mark.parametrize("language", ["ar", "en", "zh"])
def test_near_duplicates_are_found_among_real_contexts(language: str) -> None:
    data = json.loads(real_data(f"xquad.{language}.json").read_bytes())["data"]
    contexts = [paragraph["context"] for article in data for paragraph in article["paragraphs"]]
    assert list(near_duplicates(contexts)) == []
    copies = [text.replace("1", "2").replace(" ", "  ") + " …" for text in contexts]
    pairs = {(text, other) for text, other, share in near_duplicates(copies, contexts) if share >= 0.7}
    assert {text for text, _ in pairs} <= set(copies) and len(pairs) > 0.9 * len(contexts)
    assert all(other == contexts[copies.index(text)] for text, other in pairs)


def read(path: Path) -> Examples:
    return check_records(read_records(path), "repair", None, "places")


def fixed(path: Path, out: Path) -> list[Example]:
    """The examples of a file that was repaired, in which nothing is left to repair."""
    first = read(path)
    write_fixed(path, first, restored_examples(first.examples), out)
    again = read(out)
    assert {finding.fix for finding in findings(again, restored_examples(again.examples))} <= {LISTED}
    return again.examples


def test_fix_repairs_what_is_safe_and_lists_each_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = write(tmp_path / "x.de.json", PLANTED), tmp_path / "new" / "out.json"
    before = path.read_bytes()
    status, shown = check(monkeypatch, path, "--fix", out)
    assert status == 1 and path.read_bytes() == before
    changes = out.with_name("out.changes.jsonl")
    assert shown.splitlines()[-1] == f"{out}: 9 questions; 6 changes, listed in {changes}"
    rows = [json.loads(line) for line in changes.read_text().splitlines()]
    kinds = ["place", "repeated id", "misplaced answer", "taken as unanswerable", REPEAT, GARBLED]
    assert [row["kind"] for row in rows] == kinds and {row["file"] for row in rows} == {str(path)}
    assert [row["is"] for row in rows][2:] == [None, {"is_impossible": True}, None, "idge of gréy stone was raised "]
    assert rows[0]["is"] == {"text": "1912", "answer_start": MILL.index("1912")} and rows[4]["first"] == "a"
    examples = {example.id: example for example in read_examples(str(out)).examples}
    assert [*examples] == ["a", "b", "d", "e", "g", "h", "i", "i-2", "j"]
    assert {example.language for example in examples.values()} == {"de"}  # as the name of the file says, not its texts
    status, shown = check(monkeypatch, out)
    assert status == 1 and "repaired by" not in shown and "left out by" not in shown
    with pytest.raises(UserError, match=r"--fix .*out\.json: .*out\.json already exists; give another name"):
        check(monkeypatch, path, "--fix", out)
    with pytest.raises(UserError, match=r"writes SQuAD JSON; give a name that ends with \.json"):
        check(monkeypatch, path, "--fix", tmp_path / "out.csv")
    with pytest.raises(UserError, match="--fix: repairs one file, and there are 2; give one at a time"):
        check(monkeypatch, path, out, "--fix", tmp_path / "other.json")
    bad = write(tmp_path / "bad.json", squad((MILL, [("a", "Who?", "Anna")])))
    bad.write_text(bad.read_text().replace('"Anna"', '"Bob"'))
    with pytest.raises(UserError, match="no question that can be used; nothing is written"):
        check(monkeypatch, bad, "--fix", tmp_path / "other.json")
    with pytest.raises(UserError, match=r"--fix .*bad\.json/out\.json: cannot be written \(.*\); give another name"):
        check(monkeypatch, path, "--fix", bad / "out.json")
    assert not (tmp_path / "other.json").exists() and not (tmp_path / "other.changes.jsonl").exists()


FAULTS = st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(["", "shift", "case", "copy", "id"]), max_size=4)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=FAULTS.filter(lambda paragraphs: any(kinds for _, kinds in paragraphs)), v2=st.booleans())
def test_a_repaired_file_is_the_file_before_its_faults(
    faults: list[tuple[bool, list[str]]], v2: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Faults are planted into questions whose right form is known: that form comes back, and nothing else changes."""
    folder = tmp_path_factory.mktemp("fix")
    rows, wanted = [], []
    for number, (is_garbled, kinds) in enumerate(faults):
        garble = (lambda text: text.encode().decode("latin-1")) if is_garbled else str
        context = f"In 18{number:02} the café of Zoë Müller{number} stood beside the Tollense, below Müller{number}hof."
        for place, kind in enumerate(kinds):
            name, text = f"{number}-{place}", [f"Zoë Müller{number}", "Tollense", "café", f"18{number:02}"][place]
            question, answer = {"id": name, "question": f"Wer {place}?"}, (text, context.index(text))
            told, start = garble(text), garble(context).index(garble(text))
            told, start = (told.upper() if kind == "case" else told), start + 3 * (kind == "shift")
            row = {**question, "context": garble(context), "answers": {"text": [told], "answer_start": [start]}}
            rows += [row, {**row, "id": f"{name}-copy"}] if kind == "copy" else [row]
            rows[-1] |= {"id": "x"} if kind == "id" else {}
            wanted.append((*question.values(), context, (answer,)))
    if v2:
        rows.append({"id": "v2", "question": "Why?", "context": BRIDGE, "answers": []})
        wanted.append(("v2", "Why?", BRIDGE, ()))
    path = folder / "x.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    examples = fixed(path, folder / "out.json")
    assert [(e.question, e.context, e.answers) for e in examples] == [row[1:] for row in wanted]
    renamed = {row[0] for row in wanted} - {e.id for e in examples}
    assert len(renamed) == sum(kind == "id" for _, kinds in faults for kind in kinds)


@pytest.mark.parametrize("name", ["xquad.ar.json", "xquad.zh.json"])
def test_real_files_keep_all_that_is_not_repaired(name: str, tmp_path: Path) -> None:
    path = real_data(name)
    examples = {example.id: example for example in read_examples(str(path), need="texts").examples}
    repaired = fixed(path, tmp_path / name)
    assert len(examples) - 10 < len(repaired) < len(examples)
    changed = [e for e in repaired if e != examples[e.id].model_copy(update={"language": e.language})]
    assert len(changed) == (44 if name == "xquad.ar.json" else 0)  # whose contexts have garbled Chinese and Turkish
    assert all(
        example.label and example.context.startswith(example.answers[0].text, example.label[0]) for example in changed
    )


@pytest.mark.parametrize(
    ("text", "restored"),
    [
        ("A cell of 160.2 Å³.", None),
        ("A hole of Ø±0.1 mm.", None),
        ("A IRMÃ\xa0Dulce.", None),
        ("é is often shown as Ã©.", None),
        ("The sign “Â”.", None),
        ("They met in a cafÃ©.", "They met in a café."),
        ("Es wird schÃ¶n und grÃ¼n.", "Es wird schön und grün."),
    ],
)
def test_letters_are_restored_only_where_the_text_cannot_be_right(text: str, restored: str | None) -> None:
    asked = Example(id="a", question="Why?", context=text)
    assert restored_examples([asked])[0].context == (restored or text)
