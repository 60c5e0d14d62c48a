"""Reading and windowing beside another commit: python -m bench.reading CHECKOUT MODEL FILE [ROUNDS]

CHECKOUT: a folder with the other commit; MODEL: a folder with a tokenizer. Both commits take turns on one core, ROUNDS
times (5), each in a process of its own; printed are the medians of their seconds and the ratios with their spread.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("reading", "windowing")
SCRIPT = """
import json, sys, time
from qa.data.reading.examples import read_examples
from qa.data.windows.tokenizer import load_tokenizer
from qa.data.windows.build import build_windows
model, file = sys.argv[1:]
tokenizer = load_tokenizer(model)
begin = time.process_time()
examples = read_examples(file).examples
read = time.process_time()
windows = build_windows(examples, tokenizer, 384, 128)
print(json.dumps([read - begin, time.process_time() - read, len(examples), len(windows.begin)]))
"""


def measure(checkout: Path, model: str, file: str) -> list[float]:
    """CPU seconds of reading and of windowing, examples, windows."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", SCRIPT, model, file]
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> None:
    other, model, file = Path(sys.argv[1]).resolve(), *(str(Path(word).resolve()) for word in sys.argv[2:4])
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    found = [(measure(ROOT, model, file), measure(other, model, file)) for _ in range(rounds)]
    print(f"here {found[0][0][2]} questions, {found[0][0][3]} windows; there {found[0][1][2]}, {found[0][1][3]}")
    for place, part in enumerate(PARTS):
        here, there = ([pair[side][place] for pair in found] for side in (0, 1))
        ratios = sorted(one / two for one, two in zip(here, there, strict=True))
        medians = f"{statistics.median(here):.2f} s here, {statistics.median(there):.2f} s there"
        print(f"{part}: {medians}, ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
