"""Tries a tokenizer's offsets on a known text: labels and answers are cut by them."""

import json
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

# words apart by single spaces, in several scripts, without marks that a tokenizer may strip
KNOWN_TEXT = (
    "Amsterdam is big, and (Utrecht) too: 1,912 miles. Öffentliche Straße café 'le garçon'. Москва и Киев. Αθήνα."
    " القاهرة كتاب. 東京 北京大学。 서울 도시 🙂 end"
)


def repair_offsets(tokenizer: PreTrainedTokenizerFast) -> str:
    """Turns off the trimming of offsets where it cuts letters off; returns the problem that is left, or "".

    Byte-level tokenizers that split at white space and then add a space before each word trim a space that the text
    does not have, as some published Dutch RoBERTas do: "is" has the offsets of "s".
    """
    if not (lost := lost_letters(tokenizer.backend_tokenizer)):
        return ""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    untrimmed = Tokenizer.from_str(json.dumps(_untrimmed(rules)))
    if not lost_letters(untrimmed):
        tokenizer.backend_tokenizer.post_processor = untrimmed.post_processor
        tokenizer.backend_tokenizer.pre_tokenizer = untrimmed.pre_tokenizer
        return ""
    return f"gives wrong offsets: {lost!r} of a known text is in no token, or in one with another word"


def lost_letters(tokenizer: Tokenizer) -> str:
    """The first word of KNOWN_TEXT that its tokens' offsets cut; "" where they cut none.

    A word without any token is unknown to the tokenizer, not cut.
    """
    offsets = tokenizer.encode(KNOWN_TEXT, add_special_tokens=False).offsets
    covered = {place for begin, end in offsets for place in range(begin, end)}
    for begin, end in offsets:
        if len(KNOWN_TEXT[begin:end].split()) > 1:
            return KNOWN_TEXT[begin:end]
    start = 0
    for word in KNOWN_TEXT.split(" "):
        if 0 < len(covered.intersection(range(start, start + len(word)))) < len(word):
            return word
        start += len(word) + 1
    return ""


def _untrimmed(rules: Any) -> Any:
    """A tokenizer's rules with every `trim_offsets` false."""
    if isinstance(rules, dict):
        return {key: False if key == "trim_offsets" else _untrimmed(value) for key, value in rules.items()}
    return [_untrimmed(member) for member in rules] if isinstance(rules, list) else rules
