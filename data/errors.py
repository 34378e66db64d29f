"""The one family of errors that a user can cause and mend.

Whatever derives from `TextmillError` is shown as one line, without a traceback; anything else is a
defect of ours and keeps its traceback.
"""


class TextmillError(Exception):
    """One line that says what is wrong, where, with both values, and how to put it right."""
