"""The usual way, which benchmarks measure beside ours, on real logits: the same answers, or a reason."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, PreTrainedTokenizerFast

from bench.decoding import Computed, features, ours
from bench.usual.answers import Feature, best_answers, figures
from helpers.paths import MINILM, real_data
from qa.data.epochs.batch_order import ordered_batches
from qa.data.epochs.batches import EvaluationBatches
from qa.data.reading.examples import read_examples
from qa.data.windows.build import build_windows
from qa.data.windows.tokenizer import pair_template
from qa.evaluation.answers import NBestAnswer
from qa.evaluation.metrics import scores

N_BEST, LONGEST = 20, 30


def reached(windows: list[Feature], answer: NBestAnswer) -> bool:
    """Whether the usual way tries a span: its start and end are among the best starts and ends of a window."""
    for window in windows:
        starts, ends = (np.argsort(part)[-N_BEST:] for part in (window.start_logits, window.end_logits))
        begins = {place[0] for row in starts if (place := window.offsets[row])}
        if answer.start in begins and answer.end in {place[1] for row in ends if (place := window.offsets[row])}:
            return True
    return False


@pytest.mark.parametrize("sharpness", [1, 30])
def test_best_answers_are_the_same_where_the_usual_search_reaches_them(
    minilm: PreTrainedTokenizerFast, sharpness: int
) -> None:
    examples = read_examples(str(real_data("xquad.en.json"))).examples[:24]
    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_pretrained(MINILM).eval()
    windows = build_windows(examples, minilm, 128, 32)  # several windows a question
    dataset = EvaluationBatches(windows, examples, pair_template(minilm))
    computed = []
    for rows in ordered_batches(np.arange(len(windows)), windows.lengths(), 16):
        batch = dataset[rows]
        with torch.inference_mode():
            output = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")})
        computed.append(Computed(batch, (output.start_logits * sharpness, output.end_logits * sharpness)))
    found = ours({example.id: example for example in examples}, computed)
    cut, tried = features(computed), 0
    for example in examples:
        best = found.answers[example.id][0]
        usual = best_answers(example.context, cut[example.id], N_BEST, LONGEST)
        if reached(cut[example.id], best):
            tried += 1
            assert (usual[0]["text"], usual[0]["start"], usual[0]["score"]) == (best.text, best.start, best.score)
        elif usual:
            assert usual[0]["score"] <= best.score  # the usual way has missed a better span
    assert tried > 10


def test_its_em_and_f1_are_ours() -> None:
    """Predictions that are right, right but for what does not count, partly right, and wrong."""
    examples = read_examples(str(real_data("xquad.en.json"))).examples
    ways = ("{}", "The {}!", "{} of old", "elsewhere")
    predictions = {
        example.id: ways[number % 4].format(example.answers[0].text) for number, example in enumerate(examples)
    }
    references = {example.id: [answer.text for answer in example.answers] for example in examples}
    own = [scores(predictions[name], texts) for name, texts in references.items()]
    assert figures(predictions, references) == pytest.approx(tuple(100 * np.mean(own, axis=0)))
    assert 40 < figures(predictions, references)[0] < figures(predictions, references)[1] < 80
