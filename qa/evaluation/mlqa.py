"""Answers by the rules of their language: those of MLQA (Lewis et al. 2020), and the same for other languages.

As in MLQA's script the articles of a language are left out, and Unicode's punctuation with ASCII's; Chinese counts by
character, all else between its characters by word. Here other scripts without spaces count by character too, and so
does Korean, as its particles stick to the words (KorQuAD). Two spellings of one text are the same: normal forms, full
and half width, shapes of Arabic letters, tatweel, vowel signs, and İ and I in Turkish.
"""

import re
import string
import unicodedata

ARTICLES = {
    "ar": "ال",  # also within a word, as in MLQA's script
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
}
DOTTED = {"az", "tr"}  # languages with a small I without a dot
BY_CHARACTER = {"bo", "ja", "km", "ko", "lo", "my", "th", "yue", "zh"}
LETTER_SHAPES = ("<wide>", "<narrow>", "<isolated>", "<initial>", "<medial>", "<final>")  # of one letter
OPTIONAL = re.compile("[\u0640\u064b-\u0652\u0670\u05b0-\u05bc\u05c1\u05c2\u05c7]")  # tatweel, Arabic and Hebrew vowels
_MARKS = "".join(mark for code in range(0x0E00, 0x1800) if unicodedata.category(mark := chr(code)).startswith("M"))
CHARACTER = re.compile(  # Thai to Burmese, Khmer, kana, Han, Hangul; vowels and tones go with their letter
    f"[\u0e00-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff][{_MARKS}]*"
)


class _Kept(dict[int, str]):
    """The rest of each character, in its usual shape; filled as characters come."""

    def __missing__(self, code: int) -> str:
        text = chr(code)
        if unicodedata.decomposition(text).startswith(LETTER_SHAPES):
            text = unicodedata.normalize("NFKC", text)
        kept = (c for c in text if c not in string.punctuation and not unicodedata.category(c).startswith("P"))
        self[code] = OPTIONAL.sub("", "".join(kept))
        return self[code]


_kept = _Kept()


def normalize_in(language: str, answer: str) -> str:
    """The units of an answer that count in a language (a code of ISO 639), separated by one space."""
    text = unicodedata.normalize("NFC", answer).translate(_kept)
    if language in DOTTED:
        text = text.replace("I", "ı").replace("İ", "i")
    text = unicodedata.normalize("NFC", text.lower())
    if language in ARTICLES:
        text = re.sub(ARTICLES[language], " ", text)
    if language in BY_CHARACTER:
        text = CHARACTER.sub(r" \g<0> ", text)
    return " ".join(text.split())
