"""Fine-tuning BERT for extractive question answering, one room per stage of the data's way."""


def why_unreadable(error: Exception) -> str:
    """One line for what transformers, torch and safetensors say of a model's files."""
    if "trust_remote_code" in str(error):
        return "it comes with code of its own, which is not run"  # transformers' own words advise to let it
    if "Weights only load failed" in str(error):
        return "it holds more than weights, and would run code"  # torch's own words advise to let it
    return first_line(error)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class UserError(Exception):
    """What the user can mend. The message is one line: what is wrong, where, and the remedy; exit status 2."""
