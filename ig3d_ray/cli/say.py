"""What a command prints."""

import sys

from ig3d_ray.errors import printable


def say(text: object = "", end: str = "\n", err: bool = False) -> None:
    """Print a text; control characters in names from files are written out.

    Args:
        text: what to print.
        end: after it.
        err: on stderr instead of stdout.
    """
    print(printable(str(text)), end=end, file=sys.stderr if err else sys.stdout, flush=True)
