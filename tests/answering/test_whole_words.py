"""An answer ends where a word does, in any script."""

import pytest

from qa.answering.choice import LONGEST, with_whole_words
from qa.evaluation.answers import NBestAnswer


@pytest.mark.parametrize(
    ("context", "part", "whole"),
    [
        ("Call 4417.", "441", "4417"),
        ("It cost 1,300.50 euros.", "300", "1,300.50"),
        ("They don't know", "don", "don't"),
        ("with O’Brien", "Brien", "O’Brien"),
        ("une e\u0301cole", "cole", "e\u0301cole"),
        ("cette école", "é", "école"),
        ("यह किताब है", "ता", "किताब"),
        ("यह ि है", "ि", "ि"),
        ("أسست المطحنة", "طحن", "المطحنة"),
        ("アンナは1912年", "ンナ", "アンナ"),
        ("建于1912年", "91", "1912"),
        ("👨‍👩‍👧 came", "👩", "👨‍👩‍👧"),
        ("a" * 9 * LONGEST, "a" * 5, "a" * 5),
    ],
)
def test_a_part_of_a_word_becomes_the_word(context: str, part: str, whole: str) -> None:
    start = context.index(part)
    widened = with_whole_words(NBestAnswer(part, 1.0, 0.5, start, start + len(part)), context)
    assert (widened.text, context[widened.start : widened.end], widened.score) == (whole, whole, 1.0)


@pytest.mark.parametrize(
    ("context", "part"),
    [
        ("sold in 1912.", "1912"),
        ("in Arlbury.Her son", "Arlbury"),
        ("Name:Anna", "Anna"),
        ("Anna Kern's mill", "Anna Kern"),
        ("dans l'école", "école"),
        ("安娜在1912年建立了磨坊", "1912"),
        ("安娜在1912年建立了磨坊", "磨坊"),
        ("สร้างโรงสีในปี", "โรงสี"),
        ("1912年に製粉所を", "製粉所"),
        ("서울에서 왔다", "서울"),
        ("وبول سامويلسون", "بول سامويلسون"),
        ("50% of $60", "60"),
        ("the 10-year plan", "10"),
    ],
)
def test_a_right_answer_stays_as_it_is(context: str, part: str) -> None:
    start = context.index(part)
    answer = NBestAnswer(part, 1.0, 0.5, start, start + len(part))
    assert with_whole_words(answer, context) == answer
