"""The texts of a calibration, and what is unlike them: there a probability and `max_error` may not hold."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from zlib import compress

import numpy as np
from numpy.typing import NDArray

from qa.data.arrays import Ints
from qa.evaluation.answers import Question
from qa.model.answering import STEPS_OF_A_BIT, KnownTexts
from qa.statistics.intervals import TOO_FEW, clusters

Floats = NDArray[np.float64]
UNSEEN = 0.5  # added to how often each token occurs
DEVIATIONS = 3.0  # above the mean, from which a text is unlike


def describe_texts(questions: Sequence[Question], ids_of: Mapping[str, Ints], tokens: int) -> KnownTexts | None:
    """The texts of a calibration, with the token ids of each; None for fewer than TOO_FEW articles or paragraphs.

    The usual rarity is that of a text among those of other articles. `tokens`: of the vocabulary.
    """
    by = clusters(questions)
    if len(by.sizes) < TOO_FEW:
        return None
    group_of = {question.context: row for question, row in zip(questions, by.row.tolist(), strict=True)}
    texts_of: dict[int, list[Ints]] = {}
    for text, group in group_of.items():
        if len(ids_of[text]):  # white space and controls have no token
            texts_of.setdefault(group, []).append(ids_of[text])
    counts = np.bincount(np.concatenate([*ids_of.values()]), minlength=tokens)
    rarity: list[Floats] = []  # bits of each token of a text
    for texts in texts_of.values():
        distinct, place, here = np.unique(np.concatenate(texts), return_inverse=True, return_counts=True)
        bits = _bits(counts[distinct] - here, counts.sum() - here.sum(), tokens)
        rarity += np.split(bits[place], np.cumsum([len(ids) for ids in texts])[:-1])
    means = np.array([bits.mean() for bits in rarity])
    sizes = np.array([len(bits) for bits in rarity])
    within = float(np.mean([bits.var() for bits in rarity]))
    between = max(0.0, float(means.var(ddof=1)) - within * float(np.mean(1 / sizes)))
    steps = np.round(_bits(counts, counts.sum(), tokens) * STEPS_OF_A_BIT).clip(0, 255).astype(np.uint8)
    return KnownTexts(
        rarity=b64encode(compress(steps.tobytes(), 9)).decode(), usual=float(means.mean()),
        deviation=between**0.5, token_deviation=within**0.5,
    )  # fmt: skip


def _bits(counts: NDArray[np.int64], total: int, tokens: int) -> Floats:
    """The rarity of tokens: -log2 of their share of all."""
    bits: Floats = np.log2(total + UNSEEN * tokens) - np.log2(counts + UNSEEN)
    return bits


def warning_of(known: KnownTexts | None, token_ids: Ints) -> str | None:
    """A sentence about a text that is unlike those of the calibration; None for any other.

    Few tokens say little: the fewer there are, the rarer they must be.
    """
    if known is None or not len(token_ids):
        return None
    rarity = float(known.bits(token_ids).mean())
    deviation = (known.deviation**2 + known.token_deviation**2 / len(token_ids)) ** 0.5
    if rarity <= known.usual + DEVIATIONS * deviation:
        return None
    times, most = (f"{2**part:.1f}" for part in (rarity - known.usual, DEVIATIONS * deviation))
    return (
        f"This text is unlike those of the calibration (its word pieces are {times} times as rare there as usual, and"
        f" up to {most} times is normal): the probability and max_error may not hold."
    )
