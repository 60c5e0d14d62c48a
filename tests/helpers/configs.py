"""Composed configurations."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import train  # noqa: F401  registers the resolvers
from helpers.paths import ROOT

GROUPS = ("data", "model", "optimizer", "scheduler", "trainer", "callbacks")


def composed(*overrides: str, tmp_path: Path) -> Any:
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        cfg = compose("config", [*overrides, f"data.cache_dir={tmp_path}"], return_hydra_config=True)
    cfg.hydra.runtime.output_dir = str(tmp_path)
    HydraConfig.instance().set_config(cfg)
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return cfg, OmegaConf.to_container(cfg, resolve=True)
