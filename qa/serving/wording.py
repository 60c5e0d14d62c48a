"""The problems of a request, in plain words."""

from collections.abc import Mapping
from typing import Any

from qa.serving.schemas import NO_FIELD

# by the beginning of the type of pydantic's error
COMPLAINTS = {
    "missing": "is missing",
    "string_type": "should be text",
    "string_too_long": "at most {max_length} characters",
    "int": "should be a whole number",
    "float": "should be a number",
    "bool": "should be true or false",
    "list": "should be a list",
    "dict": "should be an object",
    "model": "should be an object",
    "greater_than_equal": "should be at least {ge}",
    "less_than_equal": "should be at most {le}",
    "too_long": "at most {max_length} items",
    "too_short": "at least {min_length} item",
}


def complaint(error: Mapping[str, Any]) -> str:
    """ "PLACE: problem" of one of pydantic's errors about a body."""
    parts = [str(part) for part in error["loc"][1:]]  # of a union pydantic adds the kinds it tried
    parts = [part for part in parts if part != "str" and "[" not in part]
    if error["type"] == NO_FIELD:
        parts.append(error["ctx"]["key"])
    words = next((words for kind, words in COMPLAINTS.items() if error["type"].startswith(kind)), None)
    problem = words.format(**error.get("ctx", {})) if words else error["msg"].removeprefix("Value error, ")
    return f"{'.'.join(parts)[:80] or 'body'}: {problem}"
