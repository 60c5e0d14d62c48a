"""Whether a tokenizer knows the language of the contexts that it splits."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerFast

from qa.data.example import Example
from qa.data.windows.build import Windows
from qa.data.windows.tokenizer import scripts

LOOKED_AT = 1000  # questions; their contexts judge a tokenizer
MOST_UNKNOWN, MOST_TOKENS = 0.02, 2.3  # share of [UNK], tokens of a word
SCRIPTS = 3  # a vocabulary with words of more is of many languages
LONGEST_WORD = 15  # characters, of a mean: a language with longer ones has no spaces between its words


def broken_words(tokenizer: PreTrainedTokenizerFast, windows: Windows, examples: Sequence[Example]) -> str:
    """The reason that the tokenizer does not fit the language of the contexts; empty where it fits.

    On XQuAD's contexts mBERT's tokenizer makes 1.4 tokens of an English word, 1.7 of a German and 2.2 of an Arabic one,
    with at most 0.8% [UNK]; an English tokenizer makes 2.5 and 4.9 of the last two, and 60% [UNK] of Chinese. Words
    count only where spaces part them, and where the vocabulary is of one language: of many, Korean takes more tokens.
    """
    first = {int(row): text.context for row, text in zip(windows.context[:LOOKED_AT], examples, strict=False)}
    bounds = windows.text_bounds
    tokens = np.concatenate([windows.token_ids[bounds[row] : bounds[row + 1]] for row in first])
    unknown = float((tokens == tokenizer.unk_token_id).mean()) if len(tokens) else 0.0
    words = [word for context in first.values() for word in context.split()]
    each = len(tokens) / max(len(words), 1)
    is_broken = each > MOST_TOKENS and sum(map(len, words)) < LONGEST_WORD * len(words)
    if unknown <= MOST_UNKNOWN and not is_broken:
        return ""
    vocabulary = scripts(tokenizer.get_vocab())
    is_multilingual = len(vocabulary) > SCRIPTS
    if unknown > MOST_UNKNOWN:
        problem = f"does not know {unknown:.0%} of the tokens of these contexts"
    elif is_multilingual and scripts(words) <= vocabulary:
        return ""
    else:
        problem = f"breaks each word of these contexts into {each:.1f} tokens"
    such_as = "" if is_multilingual else ", such as model=mbert"
    return f"its tokenizer {problem}; take a model that was trained on this language{such_as}"
