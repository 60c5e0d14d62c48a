"""The first screen of a run."""

import logging
import platform

import numpy as np
import torch
from rich.text import Text

from qa import processes
from qa.config.settings import Settings
from qa.console import console
from qa.data.datamodule import SquadDataModule
from qa.data.reading.sources import Split
from qa.data.windows.tokenizer import scripts
from qa.review.card import model_name
from qa.review.verdict import few_training
from qa.runs.disk import check_disk, disk_needed
from qa.runs.identity import dotted, is_recipe
from qa.runs.results_table import counted
from qa.runs.weights import LENGTHS
from qa.tracking.loggers import Wandb
from qa.training.devices import lost_updates
from qa.training.parts import Parts, evaluated_part

log = logging.getLogger(__name__)

LOOKED_AT = 1000  # questions; their contexts judge a tokenizer
MOST_UNKNOWN, MOST_TOKENS = 0.02, 2.3  # share of [UNK], tokens of a word
SCRIPTS = 3  # a vocabulary with words of more is of many languages
LONGEST_WORD = 15  # characters, of a mean: a language with longer ones has no spaces between its words


def first_screen(parts: Parts) -> None:
    """Shows the run before it begins: model, data, windows, steps, device, precision, output folder."""
    data, trainer, module = parts.data, parts.trainer, parts.module
    parameters = sum(parameter.numel() for parameter in module.parameters())
    head = "its trained span head is kept" if module.trained_head else "a new span head"
    rows = {"model": f"{model_name(module.pretrained)}, {parameters / 1e6:.1f} M parameters, {head}"}
    for split in parts.splits:
        questions, windows = data.example_count(split), len(data.windows[split])
        unanswerable = sum(example.is_impossible for example in data.examples[split])
        without = f", {unanswerable:,} of them without an answer" if unanswerable else ""
        limit = f" (data.limit={data.sources.limit})" if data.sources.limit else ""
        rows[split] = f"{data.sources.in_words(split)}: {counted(questions, 'question')}{limit}{without}"
        rows[split] += f", {counted(windows, 'window')}"
        if split != "train" and (note := evaluated_part(data, split).note()):
            rows[split] += f"; {note[0].lower()}{note[1:].rstrip('.')}"
    if parts.settings.stage != "fit" and (others := other_lengths(parts)):
        rows["lengths"] = others
    if parts.ceiling:
        best = [f"{split} EM {c.exact_match:.2f}, F1 {c.f1:.2f}" for split, c in parts.ceiling.items()]
        longest = parts.settings.decode.max_answer_length
        rows["ceiling"] = f"{'; '.join(best)} at most, with answers of up to {longest} tokens"
    if parts.settings.stage == "fit":
        if epoch := data.epoch_in_words():
            rows["epoch"] = epoch
        padding = f"{data.padded_share():.1%} of the tokens padding"
        batches = f"batches of {counted(data.batch_size, 'window')}, {data.batching}, {padding}"
        rows["steps"] = f"{steps_in_words(parts)}; {batches}"
        checkpoints = parts.settings.checkpoint
        needed = disk_needed(parameters, checkpoints.keep, checkpoints.optimizer_state == "last")
        rows["disk"] = check_disk(parts.run.path, needed)
    ranks = f"{trainer.world_size} x " if trainer.world_size > 1 else ""
    eager = module.why_no_graphs(trainer) if parts.settings.stage == "fit" else ""
    rows["device"] = f"{ranks}{arithmetic(trainer.strategy.root_device, trainer.precision, parts.settings, eager)}"
    if trainer.strategy.root_device.type == "cpu" and trainer.num_devices > processes.cores():
        rows["device"] += f"; they share {processes.cores()} cores: fewer trainer.devices are faster"
    rows["output"] = str(parts.run.path)
    for logger in trainer.loggers:
        if isinstance(logger, Wandb):
            rows["W&B"] = logger.sends()
    for name, text in rows.items():
        console.print(Text.assemble((f"{name:<12}", "bold"), text))
    is_new = parts.settings.stage == "fit" and not module.trained_head
    if is_new and (advice := few_training(data.example_count("train"))):
        console.print(advice)
    for split, ceiling in parts.ceiling.items():
        if warning := ceiling.warning(parts.settings.decode.max_answer_length):
            log.warning("%s: %s", split, warning)
    rate = parts.settings.optimizer.get("lr", 1.0) if parts.settings.stage == "fit" else 1.0
    if problem := lost_updates(module.parameters(), trainer.precision, rate):
        log.warning("trainer.precision=%s: %s", trainer.precision, problem)
    if problem := broken_words(parts.data, parts.splits[-1]):
        log.warning("model.pretrained=%s: %s", model_name(module.pretrained), problem)


def broken_words(data: SquadDataModule, split: Split) -> str:
    """The reason that the tokenizer does not fit the language of a split's contexts; empty where it fits.

    On XQuAD's contexts mBERT's tokenizer makes 1.4 tokens of an English word, 1.7 of a German and 2.2 of an Arabic one,
    with at most 0.8% [UNK]; an English tokenizer makes 2.5 and 4.9 of the last two, and 60% [UNK] of Chinese. Words
    count only where spaces part them, and where the vocabulary is of one language: of many, Korean takes more tokens.
    """
    assert data.tokenizer is not None
    windows, texts = data.windows[split], data.examples[split]
    first = {int(row): text.context for row, text in zip(windows.context[:LOOKED_AT], texts, strict=False)}
    bounds = windows.text_bounds
    tokens = np.concatenate([windows.token_ids[bounds[row] : bounds[row + 1]] for row in first])
    unknown = float((tokens == data.tokenizer.unk_token_id).mean()) if len(tokens) else 0.0
    words = [word for context in first.values() for word in context.split()]
    each = len(tokens) / max(len(words), 1)
    is_broken = each > MOST_TOKENS and sum(map(len, words)) < LONGEST_WORD * len(words)
    if unknown <= MOST_UNKNOWN and not is_broken:
        return ""
    vocabulary = scripts(data.tokenizer.get_vocab())
    is_multilingual = len(vocabulary) > SCRIPTS
    if unknown > MOST_UNKNOWN:
        problem = f"does not know {unknown:.0%} of the tokens of these contexts"
    elif is_multilingual and scripts(words) <= vocabulary:
        return ""
    else:
        problem = f"breaks each word of these contexts into {each:.1f} tokens"
    such_as = "" if is_multilingual else ", such as model=mbert"
    return f"its tokenizer {problem}; take a model that was trained on this language{such_as}"


def other_lengths(parts: Parts) -> str:
    """The lengths of an evaluation that are not its model's, in words; empty where all are."""
    settings, model = dotted(parts.settings.model_dump(include={"data", "decode"})), parts.answering
    usual = {key: getattr(model, name) for name, key in LENGTHS.items() if name in model.model_fields_set}
    return ", ".join(f"{key}={settings[key]} (the model's own: {v})" for key, v in usual.items() if settings[key] != v)


def steps_in_words(parts: Parts) -> str:
    """The steps, such as "16,665 in 3 epochs", and the published run's where the recipe is the same."""
    epochs = parts.module.total_steps / parts.history.steps_per_epoch
    text = f"{parts.module.total_steps:,} in {epochs:.3g} {'epoch' if epochs == 1 else 'epochs'}"
    if is_recipe(parts.history.identity):
        text += f" of {parts.history.steps_per_epoch:,} (the published run: 5,555)"
    if parts.trainer.check_val_every_n_epoch is None:
        text += f", an evaluation every {parts.trainer.val_check_interval:,} steps"
    return text


def arithmetic(device: torch.device, precision: str, settings: Settings, eager: str = "") -> str:
    """A device and its arithmetic, for people; on a GPU also a faster one. `eager`: why steps are no CUDA graphs."""
    text = f"{device.type}, precision {precision}"
    if device.type == "cuda" and precision == "32-true":
        text += f", matmul_precision {settings.matmul_precision}; trainer.precision=bf16-mixed is faster"
    if device.type == "cuda" and eager:
        text += f"; steps go kernel by kernel because of {eager}: CUDA graphs are faster"
    return text


def hardware(device: torch.device) -> str:
    """The name of a device, for people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({platform.machine()})"
