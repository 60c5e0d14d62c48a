"""The tokenizer: loaded, checked, and how it puts a question and a context together."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from qa.errors import UserError, why_unreadable
from qa.hub import load_arguments

MANY_WORDS = 100  # mBERT's vocabulary has 145 of Gurmukhi and 50 of Burmese; MiniLM's 8 of any script but Latin
# words apart by single spaces, in several scripts, without marks that a tokenizer may strip
KNOWN_TEXT = (
    "Amsterdam is big, and (Utrecht) too: 1,912 miles. Öffentliche Straße café 'le garçon'. Москва и Киев. Αθήνα."
    " القاهرة كتاب. 東京 北京大学。 서울 도시 🙂 end"
)


class Template(NamedTuple):
    """The special tokens that a tokenizer puts before the question, between question and context, and after it.

    Each is int64 [tokens, 2], a token's id and its type. The label of a window without the answer is position 0.
    """

    before: NDArray[np.int64]
    between: NDArray[np.int64]
    after: NDArray[np.int64]
    question_type: int
    context_type: int
    padding: int  # token id


def load_tokenizer(pretrained: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder or a Hub id.

    Errors: UserError for one that is slow, tiny, or does not put pairs together as windows need it.
    """
    try:
        tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(**load_arguments(pretrained))  # type: ignore[assignment]
    except Exception as error:  # what a missing converter or a damaged file raises is not foreseeable
        reason = why_unreadable(error, pretrained)
        raise UserError(f"model.pretrained={pretrained}: no tokenizer ({reason})") from None
    if not tokenizer.is_fast:
        raise UserError(f"model.pretrained={pretrained}: its tokenizer gives no offsets; add a tokenizer.json")
    if len(tokenizer) <= len(tokenizer.all_special_ids) + 1:
        raise UserError(f"model.pretrained={pretrained}: its vocabulary holds {len(tokenizer)} tokens; add vocab.txt")
    if problem := _unfit(tokenizer):
        remedy = "take an encoder such as BERT, RoBERTa or DeBERTa"
        raise UserError(f"model.pretrained={pretrained}: its tokenizer {problem}; {remedy}")
    return tokenizer


def _unfit(tokenizer: PreTrainedTokenizerFast) -> str:
    """The reason why no windows can be made with this tokenizer; empty where they can."""
    if tokenizer.padding_side != "right":
        return "pads on the left"
    if tokenizer.pad_token_id is None:
        return "has no padding token"
    template = pair_template(tokenizer)
    if not (len(template.before) and len(template.between)):
        return "puts no special token before the question or between question and context"
    return repair_offsets(tokenizer)


def check_lengths(tokenizer: PreTrainedTokenizerFast, max_length: int, stride: int) -> None:
    """Checks that windows of `max_length` tokens can share `stride` beside the special ones. Errors: UserError."""
    room = max_length - sum(len(part) for part in pair_template(tokenizer)[:3])
    if stride >= room:
        raise UserError(
            f"data.stride={stride}: windows of data.max_length={max_length} have room for {room} tokens beside the"
            f" special ones; give less than {max(room, 1)}, the question needs some too"
        )


def pair_template(tokenizer: PreTrainedTokenizerFast) -> Template:
    """The template, read off a pair that the tokenizer itself puts together."""
    backend(tokenizer)
    encoding: Any = tokenizer("a", "b")
    ids, parts = encoding["input_ids"], encoding.sequence_ids(0)
    types = encoding.get("token_type_ids", [0] * len(ids))
    question, context = ([row for row, part in enumerate(parts) if part == number] for number in (0, 1))
    special = np.stack([ids, types], axis=1)
    before, between, after = special[: question[0]], special[question[-1] + 1 : context[0]], special[context[-1] + 1 :]
    return Template(before, between, after, types[question[0]], types[context[0]], tokenizer.pad_token_id)


def scripts(texts: Iterable[str]) -> set[str]:
    """The scripts that have many words here, such as {"LATIN", "GREEK"}: an English vocabulary has one.

    A script is called by the first word of Unicode's names for its letters.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        letters = [letter for letter in text if letter.isalpha()]
        if len(letters) > 1:  # vocabularies have single letters of scripts that they do not know
            counts[unicodedata.name(letters[0], "").partition(" ")[0]] += 1
    return {script for script, count in counts.items() if count >= MANY_WORDS}


def backend(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """The tokenizer proper, without the truncation and padding that a tokenizer.json or a call may have left in it."""
    proper: Tokenizer = tokenizer.backend_tokenizer
    proper.no_truncation()
    proper.no_padding()
    return proper


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
