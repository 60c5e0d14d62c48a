"""BM25: the texts that may hold the answer of a question."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding

SATURATION, LENGTH_WEIGHT = 1.2, 0.75  # k1 and b
SHARED = 0.5  # of a question's tokens; texts of its language hold 0.57 to 1 of XQuAD's questions, others 0 to 0.5


def choose_texts(question: Encoding, texts: Sequence[Encoding], most: int) -> list[int]:
    """The numbers of the texts to read, best first, of equal ones the first; all where words cannot tell.

    BM25 (Robertson and Zaragoza 2009, "The probabilistic relevance framework: BM25 and beyond") with the idf of Lucene.
    Its words are the tokens of the model, which has some for every language that it reads. Texts that hold few of the
    question's are in another language.
    """
    terms = {token for token, word in zip(question.ids, question.tokens, strict=True) if any(map(str.isalnum, word))}
    tokens = [Counter(text.ids) for text in texts]
    counts = np.array([[one[term] for one in tokens] for term in sorted(terms)])  # [terms, texts]
    spread = np.count_nonzero(counts, axis=1) if terms else np.zeros(0)  # texts that hold each term
    if np.count_nonzero(spread) <= SHARED * len(terms):
        return list(range(len(texts)))
    lengths = np.array([one.total() for one in tokens])
    idf = np.log1p((len(texts) - spread + 0.5) / (spread + 0.5))
    room = SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * lengths / lengths.mean())
    scores = idf @ (counts * (SATURATION + 1) / (counts + room))
    best: list[int] = np.argsort(-scores, kind="stable")[:most].tolist()
    return best
