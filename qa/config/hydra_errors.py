"""Hydra's and OmegaConf's errors in one line."""

import re

import hydra
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qa.config.suggestions import own_files, suggestion
from qa.errors import explain, one_line
from qa.runs.identity import dotted


def explain_in_job(error: BaseException) -> str | None:
    """One line for an error within a job that the user can fix; None for a fault of this program."""
    if isinstance(error, OmegaConfBaseException):
        return one_line(error)
    return explain(error, HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else "the disk")


def explain_hydra(error: BaseException) -> str:
    """Hydra's complaint about an override as one line, with what comes close."""
    text = str(error)
    cause = one_line(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        with hydra.initialize(version_base="1.3", config_path="../../conf"):
            keys = list(dotted(OmegaConf.to_container(compose(config_name="config"))))
        return f"{match[1]}: no such setting{suggestion(match[1], keys)}"
    missing = r"Could not find '((?:hydra/)?[^/']+)/([^']+)'\s+Available options in '[^']+':((?:\n\t.*)*)"
    if match := re.search(missing, text):
        ways = [", ".join(match[3].split()), *filter(None, [own_files(match[1], match[2])])]
        return f"{match[1]}={match[2]}: no such choice; choose one of {', or '.join(ways)}"
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).partition("=")
        return f"{error.override}: not understood; a value with special characters needs quotes: '{key}=\"{value}\"'"
    return cause
