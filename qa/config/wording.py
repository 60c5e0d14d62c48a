"""pydantic's errors about settings, in plain words."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from qa.config.suggestions import suggestion
from qa.errors import UserError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], values: Any, prefix: str = "") -> Model:
    """The values as a model. Errors: UserError, one line for the first wrong value."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(wrong_value("", error, list(model.model_fields), prefix)) from None


def wrong_value(key: str, error: ValidationError, choices: Iterable[str], prefix: str = "") -> str:
    """The line for pydantic's errors about one key, below `prefix`: the key, the value, and what it should be."""
    errors = error.errors()
    first = errors[0]
    names = [] if key else [str(part) for part in first["loc"] if "[" not in str(part)]  # as list[any], of a union
    key = key or ".".join([*([prefix] if prefix else []), *names])
    if first["type"] == "extra_forbidden":
        return f"{key}: no such setting{suggestion(names[-1], choices)}"
    wishes = dict.fromkeys(map(_wish, [e for e in errors if e["type"] != "is_instance_of"] or errors))
    return f"{key}={first['input']}: should be {' or '.join(wishes)}"


def _wish(error: Mapping[str, Any]) -> str:
    """The value that is wanted, in plain words."""
    kind = error["type"].partition("_")[0]
    plain = {"int": "a whole number such as 16", "float": "a number such as 0.1", "bool": "true or false"}
    plain |= {"missing": "longer", "too": "of another length", "dataclass": "a valid dictionary"}
    return plain.get(kind) or error["msg"].replace("Input should be ", "").replace("a valid string", "text")
