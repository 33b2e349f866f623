"""The one exception that a user sees as a line of text instead of a traceback."""


class Ig3dError(Exception):
    """Something that the user can put right.

    The message is one line: it names the file, field or sample, what is wrong, and what to do.
    The command line prints it and leaves with exit code 2.
    """


class Terminated(BaseException):
    """This process was terminated (SIGTERM): work in progress is stored so that it can be resumed."""
