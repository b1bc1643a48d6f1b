"""The one exception that a user is meant to read."""


class IcfaceError(Exception):
    """Bad input or a missing requirement: the message is one line that says what, where and what to do.

    The command line prints it without a traceback and exits with status 1.
    """
