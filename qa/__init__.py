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


# C0, DEL and C1, which move a terminal's cursor, set its title or fill its clipboard
CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
CONTROLS |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}


def printable(text: str) -> str:
    """The text with pictures in place of its control characters, as a terminal may get it whatever the data hold."""
    return text.translate(CONTROLS)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of the forms that a device's lack of memory takes: torch's, CUDA's, cuBLAS's, NCCL's."""
    forms = ("out of memory", "_STATUS_ALLOC_FAILED", "can't allocate memory")
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and any(form in str(error) for form in forms)
    )


class UserError(Exception):
    """What the user can mend. The message is one line: what is wrong, where, and the remedy; exit status 2."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
