"""What went wrong, in one line."""

import errno
import re

import hydra
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qa import UserError, is_out_of_memory
from qa.settings import suggestion

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def explained(error: BaseException) -> str | None:
    """One line for what a user can mend; None for what is a fault of this program."""
    if isinstance(error, (UserError, OmegaConfBaseException)):
        return one_line(error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        place = error.filename or (HydraConfig.get().runtime.output_dir if HydraConfig.initialized() else "the disk")
        return one_line(UserError(f"{place}: {error.strerror}; make room there, or give another folder"))
    if is_out_of_memory(error):
        remedy = "lower data.micro_batch_size or data.eval_batch_size, or take trainer.precision=bf16-mixed"
        return f"{one_line(error).partition('. ')[0]}; {remedy}"  # further sentences are for programmers
    return None


def one_line(error: BaseException) -> str:
    """An error's message as one line, or the name of its class."""
    return " ".join(str(error).split()) or type(error).__name__


def explain_hydra(error: BaseException) -> str:
    """Hydra's complaint about an override as one line, with what comes close."""
    text = str(error)
    cause = one_line(error)
    if match := re.search(r"Could not override '([^']+)'", text):
        from qa.identity import dotted

        with hydra.initialize(version_base="1.3", config_path="../conf"):
            keys = list(dotted(OmegaConf.to_container(compose(config_name="config"))))
        return f"{match[1]}: no such setting{suggestion(match[1], keys)}"
    if match := re.search(r"Could not find '([^']+)/([^']+)'\s+Available options in '[^']+':((?:\n\t.*)*)", text):
        return f"{match[1]}={match[2]}: no such choice; choose one of {', '.join(match[3].split())}"
    if isinstance(error, OverrideParseException):
        key, _, value = str(error.override).partition("=")
        return f"{error.override}: not understood; a value with special characters needs quotes: '{key}=\"{value}\"'"
    return cause
