"""The model: checked against its tokenizer and the windows, loaded, sharded over devices, and saved."""

import inspect
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from qa.data.epochs.batches import INPUTS
from qa.data.reading.overlap import CONTEXTS
from qa.errors import UserError, first_line, why_unreadable
from qa.hub import load_arguments
from qa.internals import set_implementation
from qa.model.answering import Answering
from qa.storage import readable, remove, temporary_name

Attention = Literal["auto", "sdpa", "eager", "flash"]
# as a model is loaded and tried, which is on the CPU, where flash attention does not run
IMPLEMENTATIONS = {"auto": None, "sdpa": "sdpa", "eager": "eager", "flash": "eager"}
FLASH = "flash_attention_2"


class SpanHead(nn.Linear):
    """A span head that computes in its weights' precision, also under bf16-mixed: bfloat16 ties logits from 8 on."""

    def forward(self, states: Tensor) -> Tensor:
        """Hidden states, float [batch, length, hidden] → start and end logits, float [batch, length, 2]."""
        with torch.autocast(states.device.type, enabled=False):
            return super().forward(states.to(self.weight.dtype))


class Loaded(NamedTuple):
    """A model, the inputs it takes, and whether its span head came with it; a new one is random."""

    model: PreTrainedModel
    inputs: tuple[str, ...]
    trained_head: bool


def check_model(pretrained: str, tokenizer: PreTrainedTokenizerFast, max_length: int) -> int | None:
    """The number of positions of a model by its configuration alone, None where it has no end.

    Errors: UserError where it does not go with windows or tokenizer.
    """
    model = _skeleton(pretrained)
    positions, tokens = _positions(model), cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    check_positions(positions, max_length)
    if len(tokenizer) > tokens:
        raise UserError(
            f"model.pretrained={pretrained}: its tokenizer has {len(tokenizer)} tokens, its model {tokens};"
            " give a folder whose files belong together"
        )
    return positions


def check_positions(positions: int | None, max_length: int) -> None:
    """Checks that a model has positions for windows of this length. Errors: UserError."""
    if positions is not None and max_length > positions:
        raise UserError(f"data.max_length={max_length}: the model has {positions} positions; give at most {positions}")


def _configuration(pretrained: str, implementation: str | None) -> PretrainedConfig:
    """The configuration in config.json, without its attention: that may name code of the hub, which would be run."""
    config: PretrainedConfig = AutoConfig.from_pretrained(**load_arguments(pretrained))
    set_implementation(config, implementation)
    return config


def _skeleton(pretrained: str) -> PreTrainedModel:
    """The model without weights, in no time. Errors: UserError for one that has no span head."""
    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForQuestionAnswering.from_config(
                _configuration(pretrained, None), trust_remote_code=False
            )
    except Exception as error:  # what a configuration lacks shows in as many ways as there are models
        reason = why_unreadable(error, pretrained)
        raise UserError(f"model.pretrained={pretrained}: no model for question answering ({reason})") from None
    return model


def _positions(model: PreTrainedModel) -> int | None:
    """The number of positions, as `check_model` returns it. RoBERTa's begin after that of the padding."""
    limits = [
        module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
        for name, module in model.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding)
    ]
    most = getattr(model.config, "max_position_embeddings", None)
    return min([*limits, *([most] if most and most > 0 else [])], default=None)


def load_model(
    pretrained: str, attention: Attention = "auto", gradient_checkpointing: bool = False, dropout: float | None = None
) -> Loaded:
    """The model in float32 and in train mode: transformers gives it in eval mode, and Lightning keeps that.

    `dropout`: of hidden states and attention alike; None: the model's own. Errors: UserError for weights that cannot be
    read, or that would have to run code to be, for weights of another model, and for a model that needs more than text
    or gives no logits.
    """
    # the load report names the new span head, which is no news
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    name = f"model.pretrained={pretrained}"
    implementation = IMPLEMENTATIONS[attention]
    config = _configuration(pretrained, implementation)
    if dropout is not None:
        set_dropout(config, dropout)
    try:
        model, report = AutoModelForQuestionAnswering.from_pretrained(
            **load_arguments(pretrained), config=config, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # safetensors, pickle and torch raise half a dozen kinds for a damaged file
        reason = why_unreadable(error, pretrained)
        if implementation and "attention" in reason:
            raise UserError(f"model.attention={attention}: {reason}; take model.attention=auto") from None
        raise UserError(f"{name}: its weights cannot be read ({reason}); get them again") from None
    missing = sorted(report["missing_keys"])
    if body := [key for key in missing if key.startswith(f"{model.base_model_prefix}.")]:
        raise UserError(f"{name}: no weights for {len(body)} parts of the model, such as {body[0]}; get them again")
    inputs = _inputs(model)
    _try(name, model, inputs)
    if attention == "flash":
        try:
            model.set_attn_implementation(FLASH)
        except (ImportError, ValueError) as error:
            raise UserError(f"model.attention=flash: {first_line(error)}; take model.attention=auto") from None
    if gradient_checkpointing:
        if not model.supports_gradient_checkpointing:
            raise UserError(f"model.gradient_checkpointing=true: a {model.config.model_type} model cannot do it")
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    for part in model.children():
        if type(part) is nn.Linear:
            part.__class__ = SpanHead
    model.train()
    return Loaded(model, inputs, trained_head=not missing)


def set_dropout(config: PretrainedConfig, dropout: float) -> None:
    """Sets each dropout that a model's configuration has, under any name. Errors: UserError where it has none."""
    rates = {name: value for name, value in config.to_dict().items() if "dropout" in name or name.endswith("pdrop")}
    names = [name for name, value in rates.items() if isinstance(value, float | int)]
    if not names:
        raise UserError(f"model.dropout={dropout}: a {config.model_type} model has none; leave it out")
    config.update(dict.fromkeys(names, dropout))


def _inputs(model: PreTrainedModel) -> tuple[str, ...]:
    """The INPUTS that the model takes; token types only where it has more than one."""
    parameters = inspect.signature(model.forward).parameters
    types = getattr(model.config, "type_vocab_size", 0)
    return tuple(name for name in INPUTS if name in parameters and (name != "token_type_ids" or types > 1))


def _try(name: str, model: PreTrainedModel, inputs: tuple[str, ...]) -> None:
    """Runs one short window, so that a model that cannot be used fails before the first step."""
    ones = torch.ones(1, 8, dtype=torch.long)
    window = {name: ones * (name != "token_type_ids") for name in inputs}
    kind = model.config.model_type
    try:
        with torch.no_grad():
            shape = model(**window).start_logits.shape
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"{name}: a {kind} model, which does not work from text alone ({reason})") from None
    if shape != ones.shape:
        raise UserError(f"{name}: a {kind} model, which gives no logit for each token")


def shard(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Leaves each rank of `mesh` its part of every layer and of the rest (FSDP2)."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    layers: Any = max(lists, key=lambda layers: sum(p.numel() for p in layers.parameters()))
    for part in (*layers, model):
        fully_shard(part, mesh=mesh)


def save_model(
    final: Path,
    model: PreTrainedModel,
    weights: dict[str, Tensor],
    tokenizer: PreTrainedTokenizerFast,
    card: str,
    answering: Answering,
    contexts: NDArray[np.uint64],
) -> None:
    """Writes the folder `final`: weights, config, tokenizer, the card, and `qa.json`; whole or not at all.

    `contexts`: hashes of those that it was trained on. Errors: UserError where the disk does not take it.
    """
    try:
        with temporary_name(final) as temporary:
            model.save_pretrained(temporary, state_dict=weights)
            tokenizer.save_pretrained(temporary)
            ModelCard(card).save(temporary / "README.md")
            answering.save(temporary)
            np.save(temporary / CONTEXTS, contexts)
            for path in temporary.iterdir():
                readable(path)
            remove(final)  # what a run that was killed just here left
            temporary.rename(final)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{final}: cannot be written ({first_line(error)}); make room there, and start again") from None
