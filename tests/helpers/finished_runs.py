"""Folders of finished runs."""

from pathlib import Path
from typing import Any

import numpy as np

from helpers.questions import question
from qa.evaluation.question_table import write_questions
from qa.runs.results import PerSplit, Results, Row

WORDS = "grey at 1e-05 at 2e-05"  # what the runs below may answer


def finished_run(
    folder: Path,
    rights: list[float],
    seed: int = 42,
    lr: float = 2e-5,
    paragraph: int = 2,
    epochs: int = 3,
    said: str = "grey",
    train: str = "ab12",
    monitor: str = "val_loss",
    **fields: Any,
) -> Path:
    """A finished run's folder whose question n, on context n // paragraph, is right or not."""
    folder.mkdir(parents=True)
    questions = [
        question(
            f"q{n:04}", "grey", said, exact_match=right, f1=right, **{"context": f"{n // paragraph} {WORDS}", **fields}
        )
        for n, right in enumerate(rights)
    ]
    write_questions(folder, questions)
    row = Row(
        epoch=1, val_loss=2.0 + seed / 10, exact_match=100 * float(np.mean(rights)), f1=100 * float(np.mean(rights))
    )
    empty = PerSplit()
    settings = {"seed": seed, "stage": "fit", "optimizer.lr": lr, "trainer.max_epochs": epochs}
    settings["checkpoint.monitor"] = monitor
    made: dict[str, Any] = {"settings": settings, "inputs": {"train": [train]}, "code": None, "versions": {}}
    results = Results(
        epochs=[row], best=row, windows=empty, examples=empty, windows_per_second=empty, devices=1, identity=made
    )
    (folder / "results.json").write_text(results.model_dump_json())
    return folder
