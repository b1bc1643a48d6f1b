"""The one exception that a user is meant to read."""

import errno
import os

ADVICE = "To change retry attempts"
"""How a line begins that Ray Data puts behind what went wrong."""


class IcfaceError(Exception):
    """Bad input or a missing requirement: the message is one line that says what, where and what to do.

    The command line prints it without a traceback and exits with status 1.
    """


def first_line(error: BaseException) -> str:
    """What an error says first; the name of its kind where it says nothing.

    >>> first_line(ValueError("no number\\nand more")), first_line(KeyError())
    ('no number', 'KeyError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def root_cause(error: BaseException) -> str:
    """The last line of the error that an error began with: what went wrong inside a task of Ray's."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip() or type(error).__name__
    if os.strerror(errno.ENOSPC) in text:
        return "a disk is full (of the data set, or of the temporary folder): make room"
    return [line for line in text.splitlines() if not line.startswith(ADVICE)][-1]
