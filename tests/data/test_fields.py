"""Ids, flags, places and cells in all their spellings."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qa.data.reading.fields import BadField, Reference, read_flag, read_id, read_literal, read_references, read_start


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("a", "a"), (7, "7"), (7.0, "7"), ("", None), (None, None), (math.nan, None), (0, "0"), (" ", None)],
)
def test_an_id_is_text(value: Any, wanted: str | None) -> None:
    assert read_id(value) == wanted


@pytest.mark.parametrize("value", [["a"], {"a": 1}, True])
def test_an_id_is_a_scalar(value: Any) -> None:
    with pytest.raises(BadField, match="'id' should be text"):
        read_id(value)


@pytest.mark.parametrize("spelling", ["true", "TRUE", "True", "yes", "1", 1, 1.0, True, "T"])
def test_a_flag_that_is_true(spelling: Any) -> None:
    assert read_flag(spelling) is True


@pytest.mark.parametrize("spelling", ["false", "FALSE", "False", "no", "0", 0, 0.0, False, "N"])
def test_a_flag_that_is_false(spelling: Any) -> None:
    assert read_flag(spelling) is False


@pytest.mark.parametrize("value", [53, 53.0, "53", "53.0", " 53 "])
def test_a_place_is_a_whole_number(value: Any) -> None:
    assert read_start(value) == 53


@pytest.mark.parametrize("value", [None, "", math.nan, -1, "-1"])
def test_a_place_may_be_unknown(value: Any) -> None:
    assert read_start(value) is None


@pytest.mark.parametrize("value", ["x", 5.5, math.inf, True, [5], "1e999"])
def test_a_place_that_is_none_is_named(value: Any) -> None:
    with pytest.raises(BadField, match="'answer_start' should be a whole number"):
        read_start(value)


@pytest.mark.parametrize(
    ("value", "starts", "wanted"),
    [
        ("Ada", 3, [("Ada", 3)]),
        (1912, None, [("1912", None)]),
        (["Ada", "Brill"], [0, 4], [("Ada", 0), ("Brill", 4)]),
        (["Ada", "Brill"], 0, [("Ada", 0), ("Brill", None)]),
        ({"text": "Ada", "answer_start": 0}, None, [("Ada", 0)]),
        ([{"text": ["Ada"], "answer_start": [0]}], None, [("Ada", 0)]),
        ({"text": [], "answer_start": []}, None, []),
        ([{"text": "", "answer_start": 12}], None, []),
        ([None, "Ada"], None, [("Ada", None)]),
    ],
)
def test_answers_in_all_their_shapes(value: Any, starts: Any, wanted: list[tuple[str, int | None]]) -> None:
    assert read_references(value, starts) == [Reference(*each) for each in wanted]


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [
        ("['a', 'b']", ["a", "b"]),
        ("['a' 'b']", ["a", "b"]),
        ("[53 12]", [53, 12]),
        ("array(['a'], dtype=object)", "array(['a'], dtype=object)"),
        ("{'text': array(['a'], dtype=object), 'answer_start': array([1])}", {"text": ["a"], "answer_start": [1]}),
        ('{"text": "a"}', {"text": "a"}),
        ("[sic]", "[sic]"),
        ("{x}", "{x}"),
        ("[__import__('os').system('true')]", "[__import__('os').system('true')]"),
        ("[" * 9000, "[" * 9000),
        ("(a)", "(a)"),
    ],
)
def test_a_cell_may_hold_a_list(cell: str, wanted: Any) -> None:
    assert read_literal(cell) == wanted


@given(st.lists(st.text(), max_size=3))
def test_a_list_of_texts_survives_a_cell(texts: list[str]) -> None:
    assert read_literal(str(texts)) == texts


@given(st.text())
def test_no_text_breaks_the_reading_of_cells(text: str) -> None:
    for cell in ("[" + text, "{" + text, f"[{text}]", f"{{'text': {text}}}"):
        assert isinstance(read_literal(cell), str | list | dict)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"text": st.text(max_size=4)},
            optional={"answer_start": st.one_of(st.integers(-2, 9), st.floats(0, 9), st.booleans(), st.none())},
        ),
        min_size=1,
    )
)
def test_objects_of_a_list_are_read_as_each_alone(members: list[dict[str, Any]]) -> None:
    def read(value: Any) -> list[Reference] | str:
        try:
            return read_references(value)
        except BadField as bad:
            return str(bad)

    alone = [read(member) for member in members]
    error = next((found for found in alone if isinstance(found, str)), None)
    assert read(members) == (error or [reference for found in alone for reference in found])
