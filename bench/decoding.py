"""Decoding beside the usual way: python -m bench.decoding MODEL FILE [ROUNDS]

MODEL: a folder with a trained model; FILE: questions with their answers. The model's logits are computed once, and the
file's questions are repeated, with ids and contexts of their own, until they are as many as in SQuAD v1.1's validation
set. From logits to 20 candidates of each question with texts and probabilities, and EM and F1; one core each. Both take
turns, ROUNDS times (5); printed are the medians of their CPU seconds and the ratios with their spread.
"""

import gc
import statistics
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.usual import answers as usual
from qa.answering.answerer import QuestionAnswerer
from qa.data.epochs.batch_order import ordered_batches
from qa.data.epochs.batches import EvaluationBatch, EvaluationBatches
from qa.data.example import Example
from qa.data.reading.examples import read_examples
from qa.data.windows.build import build_windows
from qa.data.windows.tokenizer import pair_template
from qa.evaluation.answers import Evaluation
from qa.evaluation.collect import collect, evaluate_batch

QUESTIONS, BATCH, N_BEST, LONGEST = 10_570, 16, 20, 30


class Computed(NamedTuple):
    """A batch, and its logits: of starts and of ends, float32 [batch, length] each."""

    batch: EvaluationBatch
    logits: tuple[Tensor, Tensor]


def compute(model: str, examples: Sequence[Example]) -> list[Computed]:
    """The logits of all windows, in the batches of an evaluation."""
    answerer = QuestionAnswerer.from_pretrained(model, device="cpu")
    known, tokenizer = answerer.answering, answerer.tokenizer
    windows = build_windows(examples, tokenizer, known.max_length, known.stride)
    dataset = EvaluationBatches(windows, examples, pair_template(tokenizer))
    batches = (dataset[rows] for rows in ordered_batches(np.arange(len(windows)), windows.lengths(), BATCH))
    return [Computed(b, answerer.engine.logits({name: b[name] for name in answerer.engine.inputs})) for b in batches]  # type: ignore[literal-required]


def repeated(
    examples: Sequence[Example], computed: Sequence[Computed], count: int
) -> tuple[dict[str, Example], list[Computed]]:
    """At least `count` questions, by id, with their batches: copies that share no text that could be cut just once."""
    asked: dict[str, Example] = {}
    batches: list[Computed] = []
    windows = sum(len(batch["rows"]) for batch, _ in computed)
    for turn in range(-(-count // len(examples))):
        for example in examples:
            own = {"id": f"{turn}/{example.id}", "context": f"{example.context} {turn}"}
            asked[own["id"]] = example.model_copy(update=own)
        for batch, logits in computed:
            rows, ids = batch["rows"] + turn * windows, [f"{turn}/{name}" for name in batch["ids"]]
            batches.append(Computed(EvaluationBatch(**{**batch, "rows": rows, "ids": ids}), logits))
    return asked, batches


def features(computed: Sequence[Computed]) -> dict[str, list[usual.Feature]]:
    """The windows of each question as the usual way has them, padded to the longest."""
    found: dict[str, list[usual.Feature]] = {}
    longest = max(logits[0].shape[1] for _, logits in computed)
    for batch, logits in computed:
        room = longest - logits[0].shape[1]
        starts, ends = (torch.nn.functional.pad(part, (0, room), value=-1e4).numpy() for part in logits)
        for row, (name, mask) in enumerate(zip(batch["ids"], batch["context_mask"].tolist(), strict=True)):
            pairs = zip(batch["offsets"][row].tolist(), mask, strict=True)
            offsets = [(pair[0], pair[1]) if inside else None for pair, inside in pairs] + [None] * room
            found.setdefault(name, []).append(usual.Feature(starts[row], ends[row], offsets))
    return found


def usually(asked: dict[str, Example], windows: dict[str, list[usual.Feature]]) -> tuple[float, float]:
    """EM and F1 the usual way."""
    nbest = {name: usual.best_answers(asked[name].context, windows[name], N_BEST, LONGEST) for name in asked}
    predictions = {name: best[0]["text"] if best else "" for name, best in nbest.items()}
    return usual.figures(predictions, {name: [a.text for a in example.answers] for name, example in asked.items()})


def ours(asked: dict[str, Example], computed: Sequence[Computed]) -> Evaluation:
    """The evaluation, with every candidate and the figures asked for."""
    with torch.inference_mode():
        parts = [evaluate_batch(logits, batch, None, N_BEST, LONGEST) for batch, logits in computed]
    found = collect(parts, asked, N_BEST)
    for _ in found.answers.values():
        pass
    found.figures()
    return found


def measure(model: str, file: str, rounds: int) -> list[tuple[float, float]]:
    """CPU seconds the usual way and ours, of each round."""
    examples = read_examples(file, need="texts").examples
    return rounds_of(*repeated(examples, compute(model, examples), QUESTIONS), rounds)


def rounds_of(asked: dict[str, Example], computed: Sequence[Computed], rounds: int) -> list[tuple[float, float]]:
    """The same, of questions whose logits are there."""
    windows, threads = features(computed), torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # neither way is to look through what both are given
    seconds = []
    for _ in range(rounds):
        begin = time.process_time()
        usually(asked, windows)
        middle = time.process_time()
        ours(asked, computed)
        seconds.append((middle - begin, time.process_time() - middle))
    gc.unfreeze()
    torch.set_num_threads(threads)
    return seconds


def main() -> None:
    found = measure(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 5)
    ratios = sorted(usual_seconds / own for usual_seconds, own in found)
    usual_median, own_median = (statistics.median(column) for column in zip(*found, strict=True))
    print(f"the usual way {usual_median:.2f} s, ours {own_median:.2f} s", end=": ")
    print(f"{statistics.median(ratios):.1f} times as fast ({ratios[0]:.1f} to {ratios[-1]:.1f})")


if __name__ == "__main__":
    main()
