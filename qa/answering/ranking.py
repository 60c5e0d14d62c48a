"""Which of several texts may hold the answer of a question: BM25."""

from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

SATURATION, LENGTH = 1.2, 0.75  # k1 and b


def rank(question: Encoding, texts: Sequence[Encoding]) -> list[int]:
    """The numbers of the texts, best first, of equal ones the first.

    BM25 (Robertson and Zaragoza 2009, "The probabilistic relevance framework: BM25 and beyond") with the idf of Lucene.
    Its words are the tokens of the model, which has some for every language that it reads.
    """
    counts = [np.array(text.ids) for text in texts]
    lengths = np.array([len(ids) for ids in counts], float)
    scores = np.zeros(len(texts))
    for token in sorted({token for token, word in zip(question.ids, question.tokens, strict=True) if _is_word(word)}):
        count = np.array([np.count_nonzero(ids == token) for ids in counts])
        holding = np.count_nonzero(count)
        idf = np.log1p((len(texts) - holding + 0.5) / (holding + 0.5))
        room = SATURATION * (1 - LENGTH + LENGTH * lengths / max(lengths.mean(), 1))
        scores += idf * count * (SATURATION + 1) / (count + room)
    return np.argsort(-scores, kind="stable").tolist()


def _is_word(token: str) -> bool:
    return any(letter.isalnum() for letter in token)
