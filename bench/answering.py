"""Answers beside the usual way, and the memory they take: python -m bench.answering MODEL FILE [EXPORTED …]

MODEL: a folder with a trained model; FILE: questions, of any kind that training reads; EXPORTED: what qa.export made of
the model. The usual way is one question at a time, its windows padded to 384 tokens, the best span of each by NumPy.
All take turns, five times.
"""

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bench.usual.windows import cut
from qa.answering.answerer import QuestionAnswerer
from qa.answering.files import answer_file
from qa.data.example import Example
from qa.data.reading.examples import read_examples
from qa.storage import write_text

ROUNDS, QUESTIONS, BOOK, LINES = 5, 64, 5_000_000, 100_000


def usual(answerer: QuestionAnswerer, example: Example) -> str:
    """One question, as examples of other libraries answer it."""
    windows = cut(answerer.tokenizer, example.question, example.context, return_tensors="pt")
    offsets = windows.pop("offset_mapping").numpy()
    windows.pop("overflow_to_sample_mapping")
    with torch.inference_mode():
        output = answerer.engine.model(**windows)
    best, text = -np.inf, ""
    for row, (starts, ends) in enumerate(zip(output.start_logits.numpy(), output.end_logits.numpy(), strict=True)):
        context = np.array([part == 1 for part in windows.sequence_ids(row)])
        scores = np.where(context, starts, -np.inf)[:, None] + np.where(context, ends, -np.inf)
        scores = np.where(np.triu(np.ones_like(scores)) - np.triu(np.ones_like(scores), 30) > 0, scores, -np.inf)
        first, last = np.unravel_index(scores.argmax(), scores.shape)
        if scores[first, last] > best:
            best, text = scores[first, last], example.context[offsets[row, first, 0] : offsets[row, last, 1]]
    return text


def memory(kind: str = "VmRSS") -> int:
    """MiB that this process holds; "VmHWM": that it held at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{kind}:")[2].split()[0]) >> 10


def side_by_side(answerers: dict[str, QuestionAnswerer], examples: list[Example]) -> None:
    """How much faster than the usual way questions are answered, and how many answers are its."""
    questions, contexts = [e.question for e in examples], [e.context for e in examples]
    plain = next(iter(answerers.values()))
    ratios: dict[str, list[float]] = {}
    texts: dict[str, list[str]] = {}
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        theirs = [usual(plain, example).strip() for example in examples]
        usually = time.perf_counter() - begin
        for name, answerer in answerers.items():
            begin = time.perf_counter()
            texts[name] = [answerer(*pair).text for pair in zip(questions, contexts, strict=True)]
            ratios.setdefault(name, []).append(usually / (time.perf_counter() - begin))
    for name, found in ratios.items():
        same = sum(map(str.__eq__, texts[name], theirs))
        spread = f"{min(found):.1f} to {max(found):.1f}"
        print(f"{len(examples)} questions, {name}: {statistics.median(found):.1f} ({spread}), {same} alike", flush=True)


def book(answerer: QuestionAnswerer, contexts: list[str]) -> None:
    """A long text: memory while it is answered."""
    text = "\n\n".join(contexts)
    text = (text * (BOOK // len(text.encode()) + 1)).encode()[:BOOK].decode(errors="ignore")
    Path("/proc/self/clear_refs").write_text("5")  # forgets what the process held at most
    before, begin = memory(), time.perf_counter()
    answerer("When was the town founded?", text)
    took = time.perf_counter() - begin
    print(f"a text of {len(text.encode()) / 1e6:.1f} MB: {memory('VmHWM') - before} MiB above {before}, {took:.0f} s")


def lines(answerer: QuestionAnswerer, count: int) -> None:
    """A file of short questions: memory after a tenth and at its end."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "asks.jsonl"
        row = '{{"id": "{0}", "question": "Who built bridge {0}?", "context": "Bridge {0} was built by Ada Brill."}}\n'
        held = []
        for part in (count // 10, count):
            write_text(source, "".join(row.format(number) for number in range(part)))
            begin = time.perf_counter()
            answer_file(answerer, str(source), Path(folder) / f"{part}.jsonl", {})
            held.append(memory())
        speed = count / (time.perf_counter() - begin)
        print(f"{count} lines: {held[0]} MiB after {count // 10} lines, {held[1]} after all, {speed:.0f} a second")


def main() -> None:
    load = QuestionAnswerer.from_pretrained
    answerer = load(sys.argv[1])
    examples = read_examples(sys.argv[2]).examples
    book(answerer, list(dict.fromkeys(example.context for example in examples)))
    lines(answerer, LINES)
    answerers = {"float32": answerer, "bfloat16": load(sys.argv[1], dtype="bfloat16")}
    for folder in sys.argv[3:]:
        found = load(folder)
        answerers[folder] = found
        if found.engine.name == "openvino":
            answerers[f"{folder}, bfloat16"] = load(folder, dtype="bfloat16")
    side_by_side(answerers, random.Random(0).sample(examples, QUESTIONS))


if __name__ == "__main__":
    main()
