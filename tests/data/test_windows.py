"""Windows against a slow and obvious reference: the tokenizer's own overflow."""

import json
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from helpers.paths import MINILM, real_data
from helpers.windows import assert_equal
from qa.data.example import Example, ReferenceAnswer
from qa.data.reading.examples import read_examples
from qa.data.windows import cache
from qa.data.windows.build import Windows, build_windows, without_room
from qa.data.windows.cache import cached_windows, fingerprint
from qa.data.windows.tokenizer import check_lengths, load_tokenizer
from qa.errors import UserError


@pytest.mark.parametrize(("language", "count"), [("en", 1233), ("de", 1265), ("es", None), ("zh", 1336), ("ar", 1387)])
def test_xquad_windows_equal_the_reference(language: str, count: int | None, mbert: PreTrainedTokenizerFast) -> None:
    examples = read_examples(str(real_data(f"xquad.{language}.json"))).examples
    windows = assert_equal(examples, mbert, 384, 128)
    assert count is None or len(windows) == count


def test_an_answer_at_the_edge_of_a_window_is_whole_or_not_there(minilm: PreTrainedTokenizerFast) -> None:
    context = " ".join(f"word{number}" for number in range(20))
    answer = ReferenceAnswer(text="word7 word8", answer_start=context.index("word7"))
    examples = [Example(id="a", question="where ?", context=context, answers=(answer,))]
    for max_length in range(12, 50):
        assert_equal(examples, minilm, max_length, 4)


def test_new_wiki_counts_are_the_published_ones(
    minilm: PreTrainedTokenizerFast, mbert: PreTrainedTokenizerFast
) -> None:
    examples = read_examples(str(real_data("squadshifts.new_wiki.json"))).examples
    for tokenizer, count, mean in ((minilm, 8034, 171.8), (mbert, 8091, 182.4)):
        windows = build_windows(examples, tokenizer, 384, 128)
        assert len(windows) == count
        assert windows.lengths().mean() == pytest.approx(mean, abs=0.05)
        assert len(np.unique(windows.example[windows.end_positions > 0])) == len(examples)


PIECES = st.sampled_from(
    [
        "the",
        "Ångström",
        "naïve",
        "👩‍👩‍👧",
        "🏳️‍🌈",
        "e\u0301",
        "\u200b",
        "\u200f",
        "שלום",
        "مرحبا",
        "漢字",
        "각",
        "ﬁ",
        "½",
        "1912",
        ",",
        "—",
        "\u0000",
        "ẞ",
        "İ",
        "supercalifragilistic",
        "\ufeff",
        "𝔘",
        "\r\n",
        "\t",
        " ",
        "\u00a0",
    ]
)


@st.composite
def made_examples(draw: st.DrawFn) -> Example:
    question = " ".join(draw(st.lists(PIECES, min_size=1, max_size=40)))
    context = draw(st.sampled_from([" ", ""])).join(draw(st.lists(PIECES, min_size=1, max_size=120)))
    begin = draw(st.integers(0, len(context) - 1))
    text = context[begin : draw(st.integers(begin + 1, len(context)))]
    return Example(
        id="x",
        question=question + "?",
        context=context + ".",
        answers=(ReferenceAnswer(text=text, answer_start=begin),),
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(made_examples(), min_size=1, max_size=3), st.integers(12, 64), st.integers(0, 40))
def test_made_windows_equal_the_reference(
    minilm: PreTrainedTokenizerFast, examples: list[Example], max_length: int, stride: int
) -> None:
    assert_equal(examples, minilm, max_length, min(stride, max_length - 4))


def test_a_question_without_room_has_no_window_and_is_named(minilm: PreTrainedTokenizerFast) -> None:
    short = Example(id="a", question="who ?", context="one two three " * 30)
    long = Example(id="b", question="who " * 40, context="one two three " * 30)
    fits = Example(id="c", question="who " * 40, context="one two three one two")  # to the last token
    windows = build_windows([short, long, fits], minilm, 48, 20)
    assert without_room(windows).tolist() == [1]
    assert set(windows.example.tolist()) == {0, 2}


def test_an_answer_in_no_window_is_trained_as_none(minilm: PreTrainedTokenizerFast) -> None:
    context = "one two three " * 30
    long = Example(
        id="a", question="who ?", context=context, answers=(ReferenceAnswer(text=context[:300], answer_start=0),)
    )
    no_room = Example(
        id="b", question="who " * 40, context=context, answers=(ReferenceAnswer(text="two", answer_start=4),)
    )
    windows = build_windows([example(), long, no_room], minilm, 48, 20)
    assert not windows.end_positions[windows.example == 1].any()


def test_a_question_without_answers_is_labelled_with_none(minilm: PreTrainedTokenizerFast) -> None:
    examples = [Example(id=context, question="who ?", context=context) for context in ("one two", " one", "three")]
    windows = build_windows(examples, minilm, 48, 16)
    assert windows.start_positions.tolist() == windows.end_positions.tolist() == [0, 0, 0]


def test_windows_of_one_context_share_stride_tokens_and_cover_it(minilm: PreTrainedTokenizerFast) -> None:
    windows = build_windows([Example(id="a", question="who ?", context="one two three " * 60)], minilm, 64, 20)
    begin, end = windows.begin, windows.begin + windows.length
    assert len(windows) > 2
    assert begin[0] == 0
    assert end[-1] == 180
    assert (end[:-1] - begin[1:] == 20).all()


@pytest.mark.parametrize("stride", [-1, -40])
def test_windows_that_leave_tokens_out_are_never_built(minilm: PreTrainedTokenizerFast, stride: int) -> None:
    with pytest.raises(AssertionError, match="tokens that no window has"):
        build_windows([Example(id="a", question="who ?", context="one two three " * 60)], minilm, 64, stride)


def test_each_text_is_tokenised_once(minilm: PreTrainedTokenizerFast) -> None:
    context = "one two three four"
    windows = build_windows([Example(id=str(i), question="who ?", context=context) for i in range(9)], minilm, 64, 20)
    assert len(windows.token_ids) == 4 + 2


def example(question: str = "who ?", answer: str = "two") -> Example:
    context = "one two three " * 30
    return Example(id="a", question=question, context=context, answers=(ReferenceAnswer(text=answer, answer_start=4),))


def cached(
    folder: Path, examples: list[Example], tokenizer: PreTrainedTokenizerFast, max_length: int, stride: int
) -> Windows:
    path = folder / f"{fingerprint(examples, tokenizer, max_length, stride)}.safetensors"
    return cached_windows(path, examples, tokenizer, max_length, stride)


def test_the_cache_gives_back_what_was_built(tmp_path: Path, minilm: PreTrainedTokenizerFast) -> None:
    built = build_windows([example()], minilm, 48, 16)
    files = set()
    for _ in range(2):
        found = cached(tmp_path / "a" / "cache", [example()], minilm, 48, 16)
        for field in fields(Windows):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(built, field.name))
        files |= {path.stat().st_ino for path in tmp_path.rglob("*.safetensors")}
    assert len(files) == 1  # written once, then mapped
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_cache_knows_content_tokenizer_and_settings(tmp_path: Path, minilm: PreTrainedTokenizerFast) -> None:
    other = load_tokenizer(str(MINILM))
    other.backend_tokenizer.add_tokens(["three"])
    cached(tmp_path, [example()], minilm, 48, 16)
    cached(tmp_path, [example("when ?")], minilm, 48, 16)
    cached(tmp_path, [example(answer="two three")], minilm, 48, 16)
    cached(tmp_path, [example()], minilm, 47, 16)
    cached(tmp_path, [example()], minilm, 48, 15)
    cached(tmp_path, [example()], other, 48, 16)
    assert len(list(tmp_path.glob("*.safetensors"))) == 6


def test_examples_that_differ_in_one_thing_have_different_fingerprints(minilm: PreTrainedTokenizerFast) -> None:
    def asked(*pairs: tuple[str, str]) -> list[Example]:
        return [Example(id="a", question=question, context=context) for question, context in pairs]

    later = example().model_copy(update={"answers": (ReferenceAnswer(text="two", answer_start=18),)})
    different = [
        [example()],
        [later],
        [example("how ?")],
        asked(("who ?", "one two")),
        asked(("who ?o", "ne two")),
        asked(("who ?", "one"), ("how ?", "one"), ("who ?", "one")),
        asked(("who ?", "one"), ("how ?", "one"), ("how ?", "one")),
        asked(("who ?", "one"), ("who ?", "two"), ("who ?", "one")),
        asked(("who ?", "one"), ("who ?", "two"), ("who ?", "two")),
    ]
    assert len({fingerprint(examples, minilm, 48, 16) for examples in different}) == len(different)


def test_who_waits_for_the_cache_takes_what_the_other_built(tmp_path: Path, minilm: PreTrainedTokenizerFast) -> None:
    made, path = tmp_path / "made.safetensors", tmp_path / "a.safetensors"
    cached_windows(made, [example()], minilm, 48, 16)
    with ThreadPoolExecutor() as pool:
        with FileLock(path.with_suffix(".lock")):
            waits = pool.submit(cached_windows, path, [example()], minilm, 48, 16)
            time.sleep(0.5)
            assert not path.exists()
            made.replace(path)
            file = path.stat().st_ino
        waits.result()
    assert path.stat().st_ino == file


def test_what_the_cache_holds_is_found_where_nothing_can_be_written(
    tmp_path: Path, minilm: PreTrainedTokenizerFast
) -> None:
    path = tmp_path / "a.safetensors"
    windows = cached_windows(path, [example()], minilm, 48, 16)
    path.with_suffix(".lock").unlink()
    path.with_suffix(".lock").mkdir()  # stands in the way of a lock, also for root
    assert len(cached_windows(path, [example()], minilm, 48, 16)) == len(windows)


@pytest.mark.parametrize("damage", ["empty", "foreign", "truncated", "one byte"])
def test_a_damaged_cache_file_is_built_anew(tmp_path: Path, minilm: PreTrainedTokenizerFast, damage: str) -> None:
    built = build_windows([example()], minilm, 48, 16)
    cached(tmp_path, [example()], minilm, 48, 16)
    path = next(tmp_path.glob("*.safetensors"))
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    if damage == "foreign":
        save_file({"weight": built.token_ids}, path)
    else:
        path.write_bytes({"empty": b"", "truncated": bytes(content[:-50]), "one byte": bytes(content)}[damage])
    again = cached(tmp_path, [example()], minilm, 48, 16)
    for field in fields(Windows):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(built, field.name))


def test_the_cache_keeps_what_was_used_last_within_its_limit(tmp_path: Path, minilm: PreTrainedTokenizerFast) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for age, path in enumerate(paths):
        cached_windows(path, [example()], minilm, 48, 16)
        os.utime(path, (age, age))
    size = paths[0].stat().st_size
    cached_windows(paths[0], [example()], minilm, 48, 16)  # used again
    new = tmp_path / "d.safetensors"
    cached_windows(new, [example()], minilm, 48, 16, limit=2 * size)
    assert set(tmp_path.glob("*.safetensors")) == {paths[0], new}
    assert set(tmp_path.glob("*.lock")) == {paths[0].with_suffix(".lock"), new.with_suffix(".lock")}
    assert (tmp_path / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n")


def assert_built_without(folder: Path, tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture) -> None:
    built = build_windows([example()], tokenizer, 48, 16)
    for _ in range(2):  # as for two splits
        found = cached(folder, [example()], tokenizer, 48, 16)
        for field in fields(Windows):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(built, field.name))
    assert caplog.text.count(f"data.cache_dir={folder}: not used (") == 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize("obstacle", ["a file for a folder", "a lock of another's", "windows of another's"])
def test_a_cache_that_cannot_be_used_is_one_warning(
    obstacle: str, tmp_path: Path, minilm: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    folder, path = tmp_path / "cache", tmp_path / "cache" / f"{fingerprint([example()], minilm, 48, 16)}.safetensors"
    if obstacle == "a file for a folder":
        folder.write_text("")
    else:  # a folder in its place cannot be opened by root either
        (path if obstacle == "windows of another's" else path.with_suffix(".lock")).mkdir(parents=True)
    assert_built_without(folder, minilm, caplog)


def test_a_cache_that_the_disk_does_not_take_is_one_warning_and_leaves_nothing(
    tmp_path: Path, minilm: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        assert_built_without(tmp_path, minilm, caplog)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_the_cache_is_shared_and_no_link_in_it_is_followed(tmp_path: Path, minilm: PreTrainedTokenizerFast) -> None:
    (tmp_path / "mine").write_text("precious")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "CACHEDIR.TAG").symlink_to(tmp_path / "mine")
    before = os.umask(0o002)
    try:
        cached(cache, [example()], minilm, 48, 16)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir() if not path.is_symlink()} == {0o664}
    assert (tmp_path / "mine").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "value"),
    [("token_ids", 30522), ("context", 9), ("example", 1), ("begin", 80), ("start_positions", 48), ("text_bounds", -1)],
)
def test_a_cache_file_whose_numbers_point_nowhere_is_built_anew(
    name: str, value: int, tmp_path: Path, minilm: PreTrainedTokenizerFast
) -> None:
    built = build_windows([example()], minilm, 48, 16)
    array = getattr(built, name).copy()
    array[-1] = value
    path = tmp_path / f"{fingerprint([example()], minilm, 48, 16)}.safetensors"
    cache._save(path, replace(built, **{name: array}), {})  # with its checksum, as who may write there would
    found = cached(tmp_path, [example()], minilm, 48, 16)
    np.testing.assert_array_equal(getattr(found, name), getattr(built, name))


def test_a_stride_that_leaves_no_room_beside_the_special_tokens_is_refused(minilm: PreTrainedTokenizerFast) -> None:
    check_lengths(minilm, 64, 60)
    with pytest.raises(UserError, match=r"data.stride=61: windows of data.max_length=64 have room for 61 tokens"):
        check_lengths(minilm, 64, 61)


def test_a_tokenizer_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="holds 5 tokens"):
        load_tokenizer(str(tmp_path))


def test_a_truncation_in_tokenizer_json_is_not_obeyed() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(MINILM)
    assert tokenizer.backend_tokenizer.truncation["max_length"] == 128
    assert len(build_windows([example()], tokenizer, 384, 128).token_ids) == 2 + 90
