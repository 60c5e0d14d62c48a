"""Writes docs/settings.md: every choice of conf/, with its keys, their defaults and what they mean.

.venv/bin/python docs/settings.py
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

HERE = Path(__file__).parent
CONF = HERE.parent / "conf"
OF_HYDRA = ("hydra.run.dir", "hydra.sweep.dir")  # of all that config.yaml has below hydra, what a user sets
INTERNAL = {"defaults", "_target_", "_partial_"}
BEGIN = """# Settings

This page is made from the comments in `conf/`: run `python docs/settings.py` after a change there.

- `key=value` behind `python train.py` sets a key, such as `optimizer.lr=3e-5`. So does `--key=value`, as W&B's
  sweep agent writes it.
- `group=choice` takes another file of a group with its keys, such as `optimizer=adamw`. The first choice of each group
  below is the default.
- `python train.py --cfg job` prints all keys with their values and runs nothing; `python train.py --help` is shorter.
- A wrong name or value is one line with the valid choices, exit status 2, before any data is read.
- A value with spaces or commas needs quotes inside of quotes: `python train.py 'data.train_file="my file.json"'`.
- A default `${of_model:KEY,VALUE}` is VALUE in a fit; an evaluation takes what its model was trained with.
- A key that a file does not have needs a plus:
  `python train.py -m sweep=optuna '+sweep.space.scheduler=[linear,cosine]'`.

## By need

| you want to | settings |
| --- | --- |
| train on your files | `data=local`, `data.train_file=FILE`, `data.validation_share=0.1` |
| use another model | `model=roberta`, or `model.pretrained=NAME` |
| try that all works | `trainer.fast_dev_run=2`, or `data.limit=100` |
| train longer or shorter | `trainer.max_epochs=2`, `trainer.max_steps=1000`, `trainer.max_time=00:08:00:00` |
| end when it no longer improves | `callbacks=early_stopping` |
| train faster on a GPU | `trainer.precision=bf16-mixed`, `data.batch_size=64` with a higher `optimizer.lr` |
| use several GPUs | `trainer.devices=8`; for a model that one cannot hold `trainer=sharded` |
| need less memory | `data.micro_batch_size=4`, `model.gradient_checkpointing=true`, `data.max_length=256` |
| need less disk | `checkpoint.keep=0`, `checkpoint.optimizer_state=last`, `sweep.keep_best=3` |
| keep the epoch with the best F1 | `checkpoint.monitor=f1` |
| evaluate more often, or on a part | `trainer.val_check_interval=0.5`, `trainer.limit_val_batches=0.1` |
| use files with faults | `data.on_bad_record=skip` or `repair` |
| mix files | `data.mixture={own:3.0}` |
| train on long documents | `data.negative_windows=0.2`; `data.max_length=1024` with `model=modernbert` |
| compare settings, or search | `-m optimizer.lr=1e-5,2e-5 seed=1,2,3`, `-m sweep=optuna` |
| get the same bits on a GPU | `trainer.deterministic=true` |
| log to W&B | `logger=wandb` |
"""


class Setting(NamedTuple):
    """A key of a YAML file, its value as it is written there, and the comment behind it."""

    key: str
    value: str
    comment: str


def settings(text: str) -> list[Setting]:
    """The settings of a YAML file in its order; a mapping with a comment of its own comes before its keys."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return list(_settings(root, text.splitlines(), "")) if isinstance(root, yaml.MappingNode) else []


def _settings(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[Setting]:
    for name, value in node.value:
        key = prefix + name.value
        if name.value in INTERNAL:
            continue
        if isinstance(value, yaml.CollectionNode) and not value.flow_style:
            if comment := _comment(lines[name.start_mark.line][name.end_mark.column :]):
                yield Setting(key, "", comment)
            if isinstance(value, yaml.MappingNode):
                yield from _settings(value, lines, f"{key}.")
        else:
            line = lines[value.start_mark.line]
            written = line[value.start_mark.column : value.end_mark.column]
            yield Setting(key, written, _comment(line[value.end_mark.column :]))


def _comment(rest: str) -> str:
    return rest.partition("# ")[2].strip()


def shown(path: Path) -> list[Setting]:
    """What the page shows of a file."""
    found = settings(path.read_text(encoding="utf-8"))
    return [s for s in found if path.stem != "config" or not s.key.startswith("hydra.") or s.key in OF_HYDRA]


def as_markdown() -> str:
    """The page."""
    parts = [BEGIN, "## The run itself\n", _table(shown(CONF / "config.yaml"), "")]
    defaults: dict[str, str] = {}
    for entry in yaml.safe_load((CONF / "config.yaml").read_text(encoding="utf-8"))["defaults"]:
        if isinstance(entry, dict):
            defaults |= {name.removeprefix("override "): choice for name, choice in entry.items()}
    for folder in sorted({path.parent for path in CONF.rglob("*/*.yaml")}):
        group = folder.relative_to(CONF).as_posix()
        parts.append(f"## {group}\n")
        for path in sorted(folder.glob("*.yaml"), key=lambda path: (path.stem != defaults.get(group), path.stem)):
            parts += [f"### {group}={path.stem}\n", *_choice(path, group)]
        if group == "trainer":
            parts += ["### The other keys of trainer\n", *_choice(CONF / "lightning.yaml", group)]
    return "\n".join(parts)


def _choice(path: Path, group: str) -> Iterator[str]:
    """What a file is for, a command with it, what it builds on, and its keys."""
    text = path.read_text(encoding="utf-8")
    whole = text.startswith("# @package _global_\n")
    head = list(itertools.takewhile(lambda line: line.startswith("# "), text.splitlines()[whole:]))
    purpose, _, command = head[0].removeprefix("# ").partition("  ")
    yield f"{purpose}\n`{command}`\n"
    if len(head) > 1:
        yield " ".join(line.removeprefix("# ") for line in head[1:]) + "\n"
    base = [entry for entry in (yaml.safe_load(text) or {}).get("defaults", []) if isinstance(entry, str)]
    found = shown(path)
    if found:
        if base and not base[0].startswith("/"):
            yield f"The keys of `{group}={base[0]}`, with these changed or added:\n"
        yield _table(found, "" if whole else group.replace("/", ".") + ".")


def _table(found: list[Setting], prefix: str) -> str:
    rows = [f"| `{prefix}{s.key}` | {_code(s.value)} | {_cell(s.comment)} |" for s in found]
    return "\n".join(["| key | default | |", "| --- | --- | --- |", *rows, ""])


def _code(value: str) -> str:
    return f"`{_cell(value)}`" if value else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    (HERE / "settings.md").write_text(as_markdown(), encoding="utf-8")
