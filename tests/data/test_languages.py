"""The language of a question: what the settings, its record or its file's name say, or its texts."""

import csv
import json
import logging
import shutil
from pathlib import Path

import pytest

from helpers.configs import composed
from helpers.paths import real_data
from helpers.questions import squad
from qa.config.settings import check_files, check_settings
from qa.config.targets import check_values
from qa.data.reading.examples import read_examples
from qa.data.reading.languages import language_of, read_language, recognised_language
from qa.data.reading.records import read_records
from qa.data.squad_data import SquadData
from qa.errors import UserError


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("xquad.de.json", "de"),
        ("xquad.zh.jsonl.gz", "zh"),
        ("squad.dev.json", None),
        ("squad.val.json", None),
        ("news.new.json", None),
        ("squad.v2.json", None),
        ("de.json", None),
        ("squad.xx.json", None),
        ("xquad.zh/validation-00000-of-00001.parquet", "zh"),  # a shard has its folder's name
        ("MLQA.de.en/test-00000-of-00001.parquet", "de"),  # the text's, then the question's
        ("test-context-de-question-en.json", "de"),
    ],
)
def test_only_a_known_code_in_a_files_name_is_a_language(name: str, language: str | None) -> None:
    assert language_of(Path(name)) == language


def test_settings_name_languages_of_all_files_or_of_some(small_files: tuple[Path, Path], tmp_path: Path) -> None:
    train, dev = tmp_path / "train.json", tmp_path / "squad.de.json"
    shutil.copy(small_files[0], train)
    shutil.copy(small_files[1], dev)

    def found(**settings: object) -> list[str | None]:
        data = SquadData(train_file=[str(train), str(dev)], **settings)  # type: ignore[arg-type]
        assert data.sources.in_words("train") == f"{train}, {dev}"
        languages = [example.language for example in data.sources.read("train").examples]
        assert len(set(languages[:40])) == len(set(languages[40:])) == 1
        return [languages[0], languages[40]]

    assert found() == ["en", "de"]
    assert found(languages="gsw") == ["gsw", "gsw"]
    assert found(languages="ger") == ["de", "de"]
    assert found(languages={"train": "fr"}) == ["fr", "de"]
    assert found(languages={"squad.de": "gsw"}) == ["en", "gsw"]
    data = SquadData(train_file=str(dev), validation_share=0.5, languages={"squad.de": "gsw"})
    assert {example.language for example in data.sources.read("validation").examples} == {"gsw"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.languages={trian:de}", "data.languages: no file is called 'trian'; the files are train, dev, test"),
        ("data.languages=German", "data.languages=German: should be a code of ISO 639 such as de or gsw"),
        ("data.languages={dev:xx}", "should be .* a code of ISO 639 such as de or gsw"),
        ("data.languages={test:de}", None),  # of another stage's file
    ],
)
def test_a_wrong_language_or_file_is_refused(override: str, message: str | None, tmp_path: Path) -> None:
    for name in ("train", "dev", "test"):
        (tmp_path / f"{name}.json").write_text(json.dumps(squad(("Ada built it.", [(name, "Who?", "Ada")]))))
    keys = {"train": "train", "validation": "dev", "test": "test"}
    files = [f"data.{split}_file={tmp_path}/{name}.json" for split, name in keys.items()]
    _, config = composed(override, *files, tmp_path=tmp_path)

    def check() -> None:
        check_values({"data": config["data"]})
        check_files(check_settings(config))

    if message is None:
        check()
        return
    with pytest.raises(UserError, match=message):
        check()


def test_a_data_set_of_the_hub_has_the_language_that_is_named(
    small_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "qa.data.reading.sources.hub_records", lambda _, __, columns: read_records(small_files[0], columns)
    )
    assert {e.language for e in SquadData(name="ada/bridges", languages="de").sources.read("train").examples} == {"de"}
    data = SquadData(name="ada/bridges", columns={"question": "id"})  # the names of fields are for the hub's, too
    assert {(e.language, e.question == e.id) for e in data.sources.read("train").examples} == {("en", True)}


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("de", "de"), ("deu", "de"), ("ger", "de"), ("gsw", "gsw"), ("de-AT", "de"),
        ("pt_BR", "pt"), (" ZH-Hans ", "zh"), ("german", "de"),
        ("Javanese", "jv"), ("Mandarin", "zh"), ("Deutsch", None), ("und", None), ("xx", None), ("", None), (7, None),
        (["de"], None), (None, None),
    ],
)  # fmt: skip
def test_a_record_names_its_language_by_a_code_or_in_english(value: object, code: str | None) -> None:
    assert read_language(value) == code


def test_a_language_has_one_code_however_it_is_known(tmp_path: Path) -> None:
    context = (
        "Ang tulay ay itinayo noong 1912 ng mga tao sa bayan, at ang ilog ay malawak sa bahaging iyon ng lambak."
        " Ang mga bahay sa tabi ng ilog ay gawa sa kahoy."
    )
    record = {
        "question": "Kailan?",
        "context": context,
        "answers": ["1912"],
    }
    for name, language in (("x.jsonl", None), ("x.tl.jsonl", None), ("y.jsonl", "Tagalog"), ("z.jsonl", "fil")):
        (tmp_path / name).write_text(json.dumps({**record, "language": language} if language else record))
        assert {e.language for e in read_examples(str(tmp_path / name)).examples} == {"fil"}


def test_an_id_of_tydi_qa_names_a_language(tmp_path: Path) -> None:
    record = {"question": "Milloin?", "context": "Se oli 1912.", "answers": ["1912"]}
    ids = ["finnish--238-1", "bengali-238-1", "train-238-1", "dev-238-1", "finnish-238"]
    (tmp_path / "x.jsonl").write_text("".join(f"{json.dumps({'id': name, **record})}\n" for name in ids))
    assert [e.language for e in read_examples(str(tmp_path / "x.jsonl")).examples] == ["fi", "bn", None, None, None]


DE = "Die Brücke über die Tollense wurde im Jahr 1912 von Ada Brill aus grauem Stein gebaut und später erneuert."
FI = "Silta rakennettiin vuonna 1912 harmaasta kivestä, ja se uusittiin myöhemmin, koska tulva vei sen kaaret pois."


def test_the_language_of_a_record_wins_over_the_files_name_and_the_setting_over_it(tmp_path: Path) -> None:
    question = {"id": "1", "question": "Wann?", "answers": [{"text": "1912", "answer_start": DE.index("1912")}]}
    german = {"context": DE, "qas": [question, {**question, "id": "2", "language": "Swedish"}]}
    finnish = {"context": FI, "qas": [{"id": "3", "question": "Milloin?", "answers": [{"text": "1912"}]}]}
    articles = [{"lang": "de-AT", "paragraphs": [german]}, {"paragraphs": [finnish]}]
    (tmp_path / "x.fr.json").write_text(json.dumps({"data": articles}))
    with (tmp_path / "x.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Question", "Context", "Answer", "Lang"])
        rows.writerows([("Wann?", DE, "1912", "de"), ("Milloin?", FI, "1912", "fi"), ("Wann?", DE, "1912", "")])
    files = [str(tmp_path / "x.fr.json"), str(tmp_path / "x.csv")]
    assert [e.language for e in read_examples(files).examples] == ["de", "sv", "fr", "de", "fi", "de"]
    assert {e.language for e in read_examples(files, languages="it").examples} == {"it"}
    assert {e.language for e in read_examples(files, languages={"x.fr": "it"}).examples[:3]} == {"it"}


def test_a_language_that_nobody_knows_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = {"question": "Wann?", "context": "Es war 1912.", "answers": ["1912"], "language": "Deutsch"}
    (tmp_path / "x.jsonl").write_text(f"{json.dumps(record)}\n" * 2)
    assert {e.language for e in read_examples(str(tmp_path / "x.jsonl")).examples} == {None}
    assert "x.jsonl: neither a code of ISO 639 nor an English name of a language: 'Deutsch' (2)" in caplog.text


@pytest.mark.parametrize("language", ["ar", "de", "en", "es", "zh"])
def test_the_language_of_real_texts_is_recognised(
    language: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "own.json"
    shutil.copy(real_data(f"xquad.{language}.json"), path)
    with caplog.at_level(logging.INFO):
        assert {e.language for e in read_examples(str(path)).examples} == {language}
    said = f"{path}: language {language}, recognised from its texts; data.languages=… says it otherwise"
    assert [record.getMessage() for record in caplog.records] == [said]


def test_nothing_is_recognised_in_short_or_mixed_texts(small_files: tuple[Path, Path]) -> None:
    assert recognised_language([]) is None
    assert recognised_language(["Es war 1912.", "Ada Brill"]) is None
    assert recognised_language([DE, FI]) is None
    assert recognised_language([DE] * 500 + [FI]) is None  # two texts
    assert recognised_language([f"{number} {DE}" for number in range(500)] + [FI]) == "de"
    assert recognised_language(["1912 " * 100]) is None
    examples = read_examples(str(small_files[0])).examples
    assert {e.language for e in examples} == {"en"}
    assert {e.language for e in read_examples(str(small_files[0]), need="nothing").examples} == {"en"}


def test_a_few_telling_texts_do_not_name_the_others() -> None:
    assert recognised_language([DE, *(f"Short {number}." for number in range(99))]) is None
    assert recognised_language([*(f"{DE} {number}" for number in range(9)), *[FI] * 900]) is None
    assert recognised_language([f"{DE} {number}" for number in range(9)]) == "de"
