"""The one kind of error that is a person's to mend."""


class UserError(Exception):
    """Something that the person can put right.

    The message is one line: what is wrong, and what would be right. Commands print it without a
    traceback and exit with status 2; the page shows it as a friendly sentence.
    """
