"""EM and F1 by the rules of a language: worked examples, and a restatement of MLQA's script on real questions."""

import re
import string
import unicodedata
from collections import Counter
from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.paths import real_data
from qa.data.reading.examples import read_examples
from qa.evaluation.metrics import scores
from qa.evaluation.mlqa import ARTICLES, BY_CHARACTER, normalize_in

REMOVED = {"de": "ein eine einen einem eines einer der die das den dem des", "en": "a an the"}
REMOVED["es"] = "un una unos unas el la los las"
# the English form of SQuAD leaves most of these apart, or gives them EM 0 for a sign
EXAMPLES = [  # language, prediction, reference, EM and F1 in percent
    ("tr", "ISPARTA", "Isparta", 100, 100),  # I is ı
    ("tr", "İSTANBUL", "istanbul", 100, 100),
    ("tr", "ışık", "işik", 0, 0),
    ("en", "IRIS", "iris", 100, 100),
    ("de", "die Straße", "Straße", 100, 100),
    ("de", "STRAẞE", "Straße", 100, 100),
    ("de", "in Massen", "in Maßen", 0, 50),  # another word: ß and ss stay apart
    ("de", "der Fluss", "a Fluss", 0, 200 / 3),
    ("ar", "مُحَمَّد", "محمد", 100, 100),  # vowel signs
    ("ar", "محـــمد", "محمد", 100, 100),  # tatweel
    ("ar", "الكتاب", "كتاب", 100, 100),
    ("ar", "؟متى،", "متى", 100, 100),
    ("ar", "\ufee3\ufea4\ufee4\ufeaa", "محمد", 100, 100),  # shapes as PDF files have them
    ("he", "שָׁלוֹם", "שלום", 100, 100),
    ("th", "กรุงเทพ", "กรุงเทพมหานคร", 0, 200 / 3),
    ("th", "ที่ี", "ท", 0, 0),  # a letter is one with its signs
    ("ja", "東京都", "東京", 0, 80),
    ("ja", "ｶﾞﾗｽの城", "ガラスの城", 100, 100),
    ("ko", "서울은", "서울", 0, 80),
    ("ko", unicodedata.normalize("NFD", "서울"), "서울", 100, 100),
    ("zh", "北京 2008 年", "2008年", 0, 200 / 3),  # a number is one word
    ("zh", "《三国演义》。", "三国演义", 100, 100),
    ("zh", "１９９８年", "1998年", 100, 100),
    ("yue", "香港", "香島", 0, 50),
    ("hi", "दिल्ली।", "दिल्ली", 100, 100),  # danda
    ("es", "¿el Niño?", "Niño", 100, 100),
    ("es", "nin\u0303o", "niño", 100, 100),
    ("vi", unicodedata.normalize("NFD", "của Huế"), "Huế", 100, 100),
    ("fr", "l’été", "l'été", 100, 100),
    ("fr", "la mer", "mer", 0, 200 / 3),  # MLQA knows no articles of French
    ("gsw", "„s Huus“", "s Huus", 100, 100),
    ("en", "10²", "102", 0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("language", "prediction", "reference", "exact", "overlap"), EXAMPLES)
def test_an_answer_counts_by_the_rules_of_its_language(
    language: str, prediction: str, reference: str, exact: float, overlap: float
) -> None:
    assert [100 * score for score in scores(prediction, [reference], language)] == pytest.approx([exact, overlap])


def test_without_a_language_the_official_rules_hold() -> None:
    assert scores("北京市", ["北京"]) == scores("¿Niño?", ["niño"]) == (0.0, 0.0)
    assert scores("a Fluss", ["Fluss"]) == (1.0, 1.0)


LETTERS = st.text(st.sampled_from("aAIİıßẞéoñ東京都カガはกุ้서울دمحنـَّ1９ａ।¿、，-' "), max_size=12)
CODES = st.sampled_from([*ARTICLES, *BY_CHARACTER, "tr", "hi", "fr", "gsw"])


@given(CODES, LETTERS)
def test_spellings_of_one_text_are_one_answer(language: str, text: str) -> None:
    normal = normalize_in(language, text)
    assert normalize_in(language, normal) == normal  # nothing is left to do
    assert normal == normal.strip() and "  " not in normal
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    for same in (unicodedata.normalize("NFD", text), f" {text}\u3000", wide, f"¡{text}!"):
        assert normalize_in(language, same) == normal


SIGNS = {c for c in map(chr, range(0x20000)) if unicodedata.category(c)[0] == "P"} | {*string.punctuation}


def mlqa(text: str, language: str) -> list[str]:
    """The rules of MLQA's script, step by step, with no more spellings than it knows."""
    text = "".join(c for c in text.lower() if c not in SIGNS)
    if language == "ar":
        text = text.replace("ال", " ")
    words = REMOVED.get(language, "").replace(" ", "|")
    text = re.sub(rf"\b({words})\b", " ", text) if words else text
    if language == "zh":
        text = "".join(f" {c} " if "\u4e00" <= c <= "\u9fa5" else c for c in text)
    return text.split()


@pytest.mark.parametrize("language", ["en", "de", "es", "zh", "ar"])
def test_it_agrees_with_mlqa_on_every_real_question(language: str) -> None:
    """Predictions: the answer before, the answer with text around it, two parts of it, and the answer in capitals."""
    examples = read_examples(str(real_data(f"xquad.{language}.json"))).examples
    pairs: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for before, example in pairwise(examples):
        first, start = example.answers[0]
        assert start is not None
        longer = example.context[: start + len(first) + 20].rsplit(" ", 1)[0][max(0, start - 30) :].split(" ", 1)[-1]
        for prediction in (
            before.answers[0].text,
            longer,
            first.split(" ", 1)[-1],
            first[: -len(first) // 3],
            f"{first.upper()}!",
        ):
            predicted, expected = mlqa(prediction, language), mlqa(first, language)
            shared = (Counter(predicted) & Counter(expected)).total()
            overlap = 2 * shared / (len(predicted) + len(expected)) if shared else 0.0
            pairs.append((scores(prediction, [first], language), (float(predicted == expected), overlap)))
    different = [pair for pair in pairs if pair[0] != pytest.approx(pair[1])]
    assert len(pairs) == 5 * 1189 and 0.2 < fmean(exact for _, (exact, _) in pairs) < 0.9
    assert len(different) <= (len(pairs) // 200 if language == "ar" else 0), different[:3]  # vowel signs, tatweel
