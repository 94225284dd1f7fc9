"""The base class of all errors that users can fix, and what libraries say of theirs."""


class UserError(Exception):
    """A mistake that the user can fix.

    The message is one line: what is wrong, and what would be right. Commands print it without a
    traceback and exit with status 2; the page shows it as a friendly sentence.

    >>> raise UserError("top must be at least 1, not 0")

    Attributes:
        word: names the mistake for the page, which says it in the visitor's language by its
            words; None if only the message says it.
        values: what fills in those words.
    """

    def __init__(self, message: object = "", word: str | None = None, **values: object):
        super().__init__(message)
        self.word = word
        self.values = values


def reason(error: BaseException) -> str:
    """What a library says of an error, on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]
