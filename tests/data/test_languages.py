"""The language of a file: a two-letter code in its name, or what the settings say."""

import json
import shutil
from pathlib import Path

import pytest

from helpers.configs import composed
from helpers.questions import squad
from qa.config.settings import check_files, check_settings
from qa.config.targets import check_values
from qa.data.languages import CODES, language_of
from qa.data.records import read_records
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
    ],
)
def test_only_a_known_code_in_a_files_name_is_a_language(name: str, language: str | None) -> None:
    assert language_of(Path(name)) == language


def test_the_codes_are_those_of_iso_639_1() -> None:
    assert len(CODES) == 183
    assert {"en", "ar", "el", "hi", "no", "tr", "vi", "zu"} <= CODES
    assert CODES.isdisjoint({"xx", "jw", "v2"})


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

    assert found() == [None, "de"]
    assert found(languages="gsw") == ["gsw", "gsw"]
    assert found(languages={"train": "fr"}) == ["fr", "de"]
    assert found(languages={"squad.de": "gsw"}) == [None, "gsw"]
    data = SquadData(train_file=str(dev), validation_share=0.5, languages={"squad.de": "gsw"})
    assert {example.language for example in data.sources.read("validation").examples} == {"gsw"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.languages={trian:de}", "data.languages: no file is called 'trian'; the files are train, dev, test"),
        ("data.languages=German", "data.languages=German: should be a code of ISO 639 such as de or deu"),
        ("data.languages={dev:xx}", "should be .* a code of ISO 639 such as de or deu"),
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
    monkeypatch.setattr("qa.data.sources.hub_records", lambda _, __, columns: read_records(small_files[0], columns))
    assert {e.language for e in SquadData(name="ada/bridges", languages="de").sources.read("train").examples} == {"de"}
    data = SquadData(name="ada/bridges", columns={"question": "id"})  # the names of fields are for the hub's, too
    assert {(e.language, e.question == e.id) for e in data.sources.read("train").examples} == {(None, True)}
