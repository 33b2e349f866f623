"""A file for `ray up` checked by Ray's own schema and its providers' defaults, without starting anything."""

import contextlib
import io
import logging
from copy import deepcopy
from typing import Any

from ig3d_ray.on_ray import compat


def schema_error(content: dict[str, Any]) -> tuple[str, str] | None:
    """What Ray rejects in a file for `ray up`.

    Args:
        content: the file, as a mapping.

    Returns:
        The field and Ray's first line about it; None for a valid file.
    """
    # Ray also logs and prints what it makes of a valid file.
    logging.getLogger("ray.autoscaler").setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            compat.validate_launcher_file(deepcopy(content))
    except Exception as error:  # Ray raises whatever its code meets first: AttributeError, AssertionError, ...
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        field = ".".join(str(step) for step in getattr(error, "absolute_path", ())) or "(file)"
        return field, lines[0] if lines else type(error).__name__
    return None
