"""A service under load: python -m bench.serving MODEL FILE [MINUTES]

MODEL: a folder with a trained model, or an export of one; FILE: questions, of any kind that training reads. 64 clients
against one that waits for each answer, five times in turn; then half of the highest load for a minute, arrivals at
random; then MINUTES (10) of 64 clients, for the memory. Clients and service share the machine.
"""

import asyncio
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from qa.data.reading.examples import read_examples

ROUNDS, CLIENTS, ALONE, TOGETHER, STEADY = 5, 64, 48, 384, 60.0
Body = dict[str, Any]


@contextmanager
def served(model: str) -> Iterator[tuple[str, int]]:
    """The address of a service, and its process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-u", "-m", "qa.serve", model, "--port", "0", "--corrections", f"{folder}/c.jsonl"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "the service did not start"
            yield found[0], process.pid
        finally:
            process.terminate()
            process.wait()


def memory(pid: int) -> int:
    """MiB that a process holds."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) >> 10


async def ask(client: httpx.AsyncClient, url: str, body: Body) -> float:
    """Seconds until an answer."""
    begin = time.perf_counter()
    response = await client.post(url + "/answer", json=body)
    response.raise_for_status()
    return time.perf_counter() - begin


async def closed_loop(client: httpx.AsyncClient, url: str, bodies: Iterator[Body], clients: int) -> float:
    """Answers a second where each client asks again once it has its answer."""
    count = 0

    async def one() -> None:
        nonlocal count
        for body in bodies:
            await ask(client, url, body)
            count += 1

    begin = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    return count / (time.perf_counter() - begin)


async def open_loop(client: httpx.AsyncClient, url: str, bodies: list[Body], rate: float) -> list[float]:
    """Seconds of each answer, where questions arrive at random, `rate` a second."""
    draw, asked, end = random.Random(1), [], time.perf_counter() + STEADY
    while time.perf_counter() < end:
        asked.append(asyncio.create_task(ask(client, url, draw.choice(bodies))))
        await asyncio.sleep(draw.expovariate(rate))
    return sorted(await asyncio.gather(*asked))


def until(end: float, bodies: list[Body]) -> Iterator[Body]:
    """Questions until a moment."""
    draw = random.Random(2)
    while time.perf_counter() < end:
        yield draw.choice(bodies)


async def measure(url: str, pid: int, bodies: list[Body], minutes: float) -> None:
    """Prints a line for each measurement."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=120, limits=limits) as client:
        alone, together = [], []
        for number in range(ROUNDS):
            draw = random.Random(number)
            alone.append(await closed_loop(client, url, iter(draw.choices(bodies, k=ALONE)), 1))
            together.append(await closed_loop(client, url, iter(draw.choices(bodies, k=TOGETHER)), CLIENTS))
        ratios = [many / one for one, many in zip(alone, together, strict=True)]
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"{CLIENTS} clients beside one: {spread}; {max(together):.1f} answers a second", flush=True)
        seconds = await open_loop(client, url, bodies, max(together) / 2)
        p50, p99 = (seconds[int(len(seconds) * share)] for share in (0.5, 0.99))
        print(f"half of that: {len(seconds)} answers, p50 {p50:.3f} s, p99 {p99:.3f} s: {p99 / p50:.1f}", flush=True)
        held = []
        for _ in range(10):
            await closed_loop(client, url, until(time.perf_counter() + 6 * minutes, bodies), CLIENTS)
            held.append(memory(pid))
        print(f"{minutes:g} minutes of {CLIENTS} clients, MiB each tenth: {' '.join(map(str, held))}")


def main() -> None:
    examples = random.Random(0).sample(read_examples(sys.argv[2]).examples, 512)
    bodies = [{"question": example.question, "context": example.context} for example in examples]
    with served(sys.argv[1]) as (url, pid):
        asyncio.run(measure(url, pid, bodies, float(sys.argv[3]) if len(sys.argv) > 3 else 10))


if __name__ == "__main__":
    main()
