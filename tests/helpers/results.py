"""Results and settings of the published recipe."""

from qa.config.settings import Settings
from qa.runs.results import PerSplit, Results, Row

ROWS = [
    Row(epoch=1, step=5555, train_loss=0.99821, val_loss=0.9436, exact_match=80.0, f1=88.0),
    Row(epoch=2, step=11110, train_loss=0.76942, val_loss=0.93561, exact_match=81.7, f1=89.013),
]
RESULTS = Results(
    epochs=ROWS,
    best=ROWS[1],
    windows=PerSplit(train=88870, validation=10800),
    examples=PerSplit(train=87599, validation=10570),
    windows_per_second=PerSplit(),
    devices=1,
    hardware="cpu (x86_64)",
    seconds=5400.0,
    fingerprints={"train": "0123abcd"},
)
SETTINGS = Settings(
    seed=42,
    stage="fit",
    resume="auto",
    nonfinite="stop",
    checkpoint={
        "monitor": "val_loss",
        "every_n_steps": None,
        "every_n_minutes": 15,
        "keep": 1,
        "optimizer_state": "all",
        "on_error": "stop",
    },
    decode={"n_best": 20, "max_answer_length": 30},
    data={
        "_target_": "x",
        "name": "rajpurkar/squad",
        "train_file": None,
        "validation_file": None,
        "max_length": 384,
    },
    model={"pretrained": "google-bert/bert-base-multilingual-cased"},
    optimizer={"lr": 2e-5},
    scheduler={"name": "linear"},
    trainer={"max_epochs": 2},
)
