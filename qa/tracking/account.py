"""The W&B account, if there is one: looked up where wandb looks, without importing it."""

import netrc
import os
from pathlib import Path
from urllib.parse import urlsplit


def host() -> str:
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def has_key() -> bool:
    """Whether there is WANDB_API_KEY, or an entry for the host in the netrc file, as `wandb login` writes it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        entries = netrc.netrc(Path(os.environ.get("NETRC") or "~/.netrc").expanduser())
    except (OSError, RuntimeError, ValueError, netrc.NetrcParseError):  # RuntimeError: a user without a home
        return False
    return entries.authenticators(urlsplit(host()).netloc) is not None


def why_offline(patience: float = 5.0) -> str | None:
    """The obstacle to an online run, with the remedy; None if there is none.

    The host is asked once, at most `patience` seconds: wandb itself tries for two minutes.
    """
    if not has_key():
        return "there is no W&B key; set WANDB_API_KEY or call `wandb login`"
    import httpx  # takes a while, and most commands do not need it

    try:
        httpx.head(host(), timeout=patience)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{host()} is not reached ({error}); set WANDB_BASE_URL to another host"
    return None


def default_logger() -> str:
    """`${default_logger:}` in the defaults of conf/config.yaml: the choice of `logger` where none is made."""
    return "wandb" if has_key() and os.environ.get("WANDB_MODE") != "disabled" else "csv"
