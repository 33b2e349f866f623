"""The one exception that a user sees as a line of text instead of a traceback, and what may be in such a line."""

import re


class Ig3dError(Exception):
    """Something that the user can put right.

    The message is one line: it names the file, field or sample, what is wrong, and what to do.
    The command line prints it and leaves with exit code 2.
    """


class Terminated(BaseException):
    """This process was terminated (SIGTERM): work in progress is stored so that it can be resumed.

    It is raised by a signal's handler. A compiled function in which the signal arrives may end with a `SystemError`
    instead, whose cause is this exception: `is_termination` recognizes both.
    """


def is_termination(error: BaseException | None) -> bool:
    """Whether an exception is `Terminated`, or was raised because of it."""
    while error is not None and not isinstance(error, Terminated):
        error = error.__cause__ or error.__context__
    return error is not None


def without_password(text: str) -> str:
    """URIs in a text without the part between `//` and `@`.

    Args:
        text: a URI, or a message that holds some.
    """
    return re.sub(r"//[^/\s@]*:[^/\s]*@", "//...@", text)


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """A text whose control characters are written out, such as `\\x1b`, so that a name can't control a terminal.

    Args:
        text: with names from files; its line ends and tabs are kept.
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
