"""The errors that a user of the trainer can cause and mend; shown as one line, without a traceback."""


class GPTError(Exception):
    """One line that says what is wrong, where, with both values, and how to put it right."""
