"""A long text in pieces has the tokens of the whole, or is refused; no tokenizer is trusted."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from qa.data.example import Example
from qa.data.windows import build, long_texts
from qa.data.windows.build import build_windows
from qa.data.windows.long_texts import tokenize_long
from qa.data.windows.tokenizer import backend

CORPUS = ["the quick brown fox jumps over the lazy dog and runs home again", "Ein Text über Brücken, 1912.", "桥梁是由"]
WORDS = st.lists(
    st.sampled_from(
        ["the", "quick", "brown", "Brücken", "über", "bridge's", "1912", "桥梁是", "🙂", "réunion", "x" * 30]
    ),
    min_size=200,
    max_size=400,
)


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_texts, "PIECE_LENGTH", 300)
    monkeypatch.setattr(long_texts, "BESIDE", 250)


def wordpiece(minilm: PreTrainedTokenizerFast) -> Tokenizer:
    return backend(minilm)


def byte_level(_: PreTrainedTokenizerFast) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    made.train_from_iterator(CORPUS, trainer)
    return made


def unigram(_: PreTrainedTokenizerFast) -> Tokenizer:
    """As XLM-R's: white space is collapsed, and becomes a part of the word that follows."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(
        CORPUS, trainers.UnigramTrainer(vocab_size=60, special_tokens=["<unk>"], unk_token="<unk>")
    )
    return made


@pytest.mark.parametrize("made", [wordpiece, byte_level, unigram])
@settings(max_examples=25, deadline=None)
@given(words=WORDS, spaces=st.lists(st.sampled_from([" ", "  ", "\n\n", "\t", " \n"]), min_size=3, max_size=9))
def test_pieces_give_the_tokens_of_the_whole(
    made: Callable[[PreTrainedTokenizerFast], Tokenizer],
    words: list[str],
    spaces: list[str],
    minilm: PreTrainedTokenizerFast,
) -> None:
    text = "".join(word + spaces[number % len(spaces)] for number, word in enumerate(words))
    tokenizer = made(minilm)
    found, whole = tokenize_long(text, tokenizer), tokenizer.encode(text, add_special_tokens=False)
    if made is wordpiece:
        assert found is not None  # BERT's never mind where a text is cut between words
    if found is not None:
        assert np.array_equal(found[0], whole.ids)
        assert np.array_equal(found[1], whole.offsets)


def test_a_tokenizer_that_minds_is_noticed() -> None:
    """One that takes the letters of all words together: the words that a piece begins with are others."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    trainer = trainers.UnigramTrainer(vocab_size=40, special_tokens=["<unk>"], unk_token="<unk>", max_piece_length=9)
    made.train_from_iterator(["ab ab ab ba ba a b a b " * 20], trainer)
    text = "ab a b ba " * 200
    found, whole = tokenize_long(text, made), made.encode(text, add_special_tokens=False)
    assert found is None or np.array_equal(found[0], whole.ids)


def test_a_text_without_white_space_has_its_tokens(minilm: PreTrainedTokenizerFast) -> None:
    for text in ("桥梁" * 2000, "桥梁是石头做的，1912年。" * 300):
        found = tokenize_long(text, backend(minilm))
        assert found is not None
        assert np.array_equal(found[0], backend(minilm).encode(text, add_special_tokens=False).ids)


def test_a_text_of_a_script_without_white_space_is_cut_after_its_marks() -> None:
    assert len(list(long_texts._cuts("桥梁是石头做的，1912年。" * 300))) > 8


def test_windows_of_a_long_context_are_those_of_the_whole(
    minilm: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["the bridge of 1912 " * 300, "a short one", "Brücken über das Tal, " * 250]
    examples = [Example(id=str(n), question="When?", context=text) for n, text in enumerate(texts)]
    whole = build_windows(examples, minilm, 64, 16)
    monkeypatch.setattr(build, "LONG_TEXT", 1000)
    pieces = build_windows(examples, minilm, 64, 16)
    for name, values in vars(whole).items():
        assert np.array_equal(values, getattr(pieces, name)), name
