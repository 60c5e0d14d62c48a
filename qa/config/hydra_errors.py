"""Hydra's and OmegaConf's errors in one line."""

import re
import shlex
import sys
import traceback

import hydra
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qa.config.command_line import quoted
from qa.config.settings import READ_SPLITS, Settings
from qa.config.suggestions import CONF, own_files, suggestion
from qa.errors import explain, first_line, one_line
from qa.runs.identity import dotted

CHOICE = re.compile(r"([A-Za-z_/]+)=([A-Za-z0-9_/]+)")  # of a group, if CONF has a folder of that name
SEARCHES = "-m sweep=optuna searches: sweep.n_trials, sweep.space, sweep.sampler and sweep.pruner"


def explain_in_job(error: BaseException) -> str | None:
    """The line for an error within a job that the user can fix; None for a fault of this program."""
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {first_line(error)}"
    if isinstance(error, OmegaConfBaseException) or type(error).__name__ == "MisconfigurationException":  # Lightning's
        return one_line(error)
    return explain(error, HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else "the disk")


def is_raised_by_hydra(error: BaseException) -> bool:
    """Whether an error is Hydra's or OmegaConf's, or comes from what Hydra calls, and not from a job."""
    frames = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    roots = [name.partition(".")[0] for name in frames]
    roots = [root for root in roots if root in ("hydra", "hydra_plugins", "qa", "__main__")]
    return isinstance(error, HydraException | OmegaConfBaseException) or roots[-1:] == ["hydra"]


def explain_hydra(error: BaseException) -> str:
    """Hydra's complaint about an override as one line, with the names that come close."""
    text, words = str(error), sys.argv[1:]
    if match := re.search(r"Could not override '([^']+)'", text):
        key = match[1]
        if key.startswith("hydra.sweeper."):
            return f"{key}: no such setting; {SEARCHES}"
        choices = [word for word in words if (choice := CHOICE.fullmatch(word)) and (CONF / choice[1]).is_dir()]
        with hydra.initialize(version_base="1.3", config_path="../../conf"):
            keys = list(dotted(OmegaConf.to_container(compose("config", choices))))
        if key in keys:
            group = key.partition(".")[0]
            return f"{key}: there is no {group} to set it of; remove ~{group} or {group}=null"
        return f"{key}: no such setting{suggestion(key, keys)}"
    missing = r"Could not find '((?:hydra/)?[^/']+)/([^']*)'\s+Available options in '[^']+':((?:\n\t.*)*)"
    if match := re.search(missing, text):
        ways = filter(None, [", ".join(match[3].split()), own_files(match[1], match[2])])
        return f"{match[1]}={match[2]}: no such choice; choose one of {', or '.join(ways)}"
    if match := re.search(r"Could not delete from config. '([^']+)' does not exist", text):
        return f"~{match[1]}: nothing to leave out; it is null, or no setting"
    if (match := re.search(r"use 'override ([^:]+): ([^']+)'", text)) and f"+{match[1]}={match[2]}" in words:
        return f"+{match[1]}={match[2]}: {match[1]} is a choice already; remove the plus"
    if match := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^=]+)=(.*?)'(?:\n| requires)", text):
        if "interval(" in match[2]:
            return f"{match[1]}={match[2]}: a range is for a search; {SEARCHES}"
        a_list = "" if (CONF / match[1]).is_dir() else ", or write [ ] around them for a list"
        return f"{match[1]}={match[2]}: several values; add -m for a run of each{a_list}"
    if "Unable to configure" in text:
        return f"hydra/job_logging: {one_line(error)}; leave it out"
    if "Config group override must be" in text:
        return f"{one_line(error)}; a group takes the name of a choice, such as logger=csv"
    if match := re.fullmatch(r"Error merging override (.*)", text):
        return f"{match[1]}: {first_line(error.__cause__ or error)}"
    if "INTERVAL_SWEEP" in text:
        return f"interval(…): a range is for a search; {SEARCHES}"
    if isinstance(error, OverrideParseException):
        key, pair, value = str(error.override).partition("=")
        if not pair:
            return f"{key}: not understood; {_as_setting(key)}"
        texts = value[1:-1].split(",") if value.startswith("[") and value.endswith("]") else value
        again = shlex.quote(f"{key}={quoted(texts)}")
        return f"{error.override}: not understood; a value with special characters needs quotes: {again}"
    return explain_in_job(error) or one_line(error)


def _as_setting(word: str) -> str:
    """The remedy for a word that has no =."""
    name = re.split(r"[:\s]", word)[0]
    if word in READ_SPLITS:
        return f"write stage={word}"
    return f"write {name}=VALUE" if name.partition(".")[0] in Settings.model_fields else "settings are KEY=VALUE"
