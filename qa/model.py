"""The model: loaded, checked, and sharded over devices."""

from typing import Any

import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoConfig, BertForQuestionAnswering
from transformers.utils import logging as transformers_logging

from qa import UserError, why_unreadable


def load_config(pretrained: str) -> Any:
    """The configuration of a folder or a Hub id. Errors: UserError for a model that is not BERT."""
    try:
        config = AutoConfig.from_pretrained(pretrained)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"model.pretrained={pretrained}: no model ({str(error).splitlines()[0]})") from None
    if config.model_type != "bert":
        raise UserError(
            f"model.pretrained={pretrained}: a {config.model_type} model, which is not supported; give a BERT"
        )
    return config


def load_model(pretrained: str) -> BertForQuestionAnswering:
    """The model in float32 and in train mode: transformers gives it in eval mode, and Lightning keeps that.

    Errors: UserError for weights that cannot be read, or that would have to run code to be.
    """
    # the load report names the new span head, which is no news
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model: BertForQuestionAnswering = BertForQuestionAnswering.from_pretrained(pretrained, dtype=torch.float32)
    except Exception as error:  # safetensors, pickle and torch raise half a dozen kinds for a damaged file
        reason = why_unreadable(error)
        raise UserError(
            f"model.pretrained={pretrained}: its weights cannot be read ({reason}); get them again"
        ) from None
    model.train()
    return model


def shard(model: BertForQuestionAnswering, mesh: DeviceMesh) -> None:
    """Leaves each rank of `mesh` its part of every layer and of the rest (FSDP2)."""
    for part in (*model.bert.encoder.layer, model):
        fully_shard(part, mesh=mesh)
