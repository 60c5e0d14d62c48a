"""The configuration's values, checked against the signatures of their targets; and the objects built from them."""

import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_type_hints

from hydra.errors import InstantiationException
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from qa.config.settings import Settings
from qa.config.suggestions import read_choices, suggestion
from qa.config.wording import wrong_value
from qa.data.squad_data import SquadData
from qa.errors import UserError, one_line

# keys that `~KEY` may leave out: they have defaults, or nothing needs them
REMOVABLE = re.compile(
    r"(callbacks|logger|sweep|experiment|hydra|push_to_hub|matmul_precision)\b|optimizer\.(?!_target_)|\w+\.\w+\."
)


def check_complete(config: Mapping[str, Any], words: Iterable[str]) -> None:
    """Checks that `~KEY` among the overrides, or null, took away no setting that a run needs. Errors: UserError."""
    targets = [word.lstrip("+").partition("._target_=")[0] for word in words if "._target_=" in word]
    removed = [word[1:].partition("=")[0] for word in words if word.startswith("~")]
    missing = [key for key in removed if not REMOVABLE.match(key) and key.partition(".")[0] not in targets]
    missing += [name for name, f in Settings.model_fields.items() if f.is_required() and config.get(name) is None]
    if missing:
        raise UserError(f"{missing[0]}: cannot be left out; give it a value")


def check_values(groups: Mapping[str, Any]) -> None:
    """Checks each group's values against the signature of its `_target_`. Errors: UserError."""
    for prefix, node in _targets(groups):
        function = _signature(prefix, node["_target_"])
        hints = get_type_hints(function, include_extras=True)
        parameters = inspect.signature(function).parameters
        loose = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
        is_ours = node["_target_"].startswith("qa.")  # whose other arguments are the program's
        known = {key for content in read_choices(prefix).values() for key in content} if is_ours else ()
        choices = [name for name in parameters if not known or name in known]
        for key, value in node.items():
            if key in {"_target_", "_partial_"}:
                continue
            if key not in choices and not loose:
                raise UserError(f"{prefix}.{key}: no such setting{suggestion(key, choices)}")
            if isinstance(value, Mapping) and "_target_" in value:
                continue  # a target by itself
            try:
                checked = _adapter(hints.get(key, Any)).validate_python(value)
                if isinstance(checked, int | float) and type(value) not in (int, type(checked)):
                    # the target may not take it: true, "1" and 1e2 are no integers
                    _adapter(hints[key]).validate_python(value, strict=True)
            except ValidationError as error:
                raise UserError(wrong_value(f"{prefix}.{key}", error, [])) from None


def build(node: Any, prefix: str = "", **arguments: Any) -> Any:
    """Builds the object of a node with a `_target_`. Errors: UserError, its own or one that begins with `prefix`."""
    from hydra.utils import instantiate  # takes a while, and only who builds an object needs it

    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{prefix and prefix + ': '}{one_line(cause)}") from None


def _adapter(hint: Any) -> TypeAdapter[Any]:
    wrapped = inspect.isclass(hint) and issubclass(hint, BaseModel)
    return TypeAdapter(hint) if wrapped else TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))


def _targets(groups: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, node in groups.items():
        if isinstance(node, Mapping):
            if "_target_" in node:
                yield prefix + name, node
            yield from _targets(node, f"{prefix}{name}.")


def _signature(prefix: str, path: str) -> Callable[..., Any]:
    """The function with a target's arguments; that of the data is found without Lightning."""
    if path == "qa.SquadDataModule":
        return SquadData.__init__
    from hydra.utils import get_object

    logging.getLogger("hydra.utils").disabled = True  # it prints what the error says
    try:
        target = get_object(path)
    except Exception as error:
        raise UserError(f"{prefix}._target_={path}: not found ({one_line(error)})") from None
    function: Callable[..., Any] = target.__init__ if inspect.isclass(target) else target
    return function
