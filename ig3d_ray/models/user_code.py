"""Where a user's own modules are found: in the working directory, as Python's own `-m` has it."""

import os
import sys


def working_directory_on_path() -> None:
    """Let modules of the working directory be imported, after installed ones; console commands don't."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
