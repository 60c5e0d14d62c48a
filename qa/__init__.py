"""Fine-tuning BERT for extractive question answering, one room per stage of the data's way."""


class UserError(Exception):
    """What the user can mend. The message is one line: what is wrong, where, and the remedy; exit status 2."""
