"""A composed configuration as plain values."""

import functools
import re
from collections.abc import Mapping
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from qa.errors import UserError
from qa.model.answering import Answering
from qa.runs.identity import FOLLOWS_SEED, dotted
from qa.runs.weights import known_of

SEARCH = re.compile(r"[+~]*(sweep\b|hydra/sweeper)")


def resolved(config: Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    """{dotted key: value} of a composed configuration without Hydra's own part.

    What Hydra knows only later, such as the folder, stays as it is written, and so does what follows the seed.
    """
    node = config if isinstance(config, DictConfig) else OmegaConf.create(dict(config))
    whole: Any = OmegaConf.to_container(node)
    raw = dotted({name: whole[name] for name in whole if name != "hydra"})
    return {key: _resolved(node, key, value) for key, value in raw.items()}


def _resolved(config: DictConfig, key: str, value: Any) -> Any:
    if "${" not in str(value) or "${hydra:" in str(value) or value == FOLLOWS_SEED:
        return value
    node = OmegaConf.select(config, key)
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def overrides() -> list[str]:
    """The words after `train.py` that repeat this run; of a search's trial they do not search again."""
    return [word for word in HydraConfig.get().overrides.task if not SEARCH.match(word)]


def of_model(name: str, default: Any, *, _root_: Any) -> Any:
    """The value of `${of_model:NAME,DEFAULT}`: an evaluated model's own; DEFAULT in a fit, and of other models."""
    answering = Answering() if _root_.stage == "fit" else _known_of(str(_root_.resume), str(_root_.model.pretrained))
    return getattr(answering, name) if name in answering.model_fields_set else default


@functools.cache
def _known_of(resume: str, pretrained: str) -> Answering:
    """The facts about a model; none where it cannot be read, which is reported where it is loaded."""
    try:
        return known_of(resume, pretrained)
    except UserError:
        return Answering()
