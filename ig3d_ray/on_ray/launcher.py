"""A file for `ray up` against Ray's own schema and its providers' defaults, without starting anything."""

import contextlib
import io
import logging
from copy import deepcopy
from typing import Any

from ig3d_ray.clusters.faults import Fault


def check_with_ray(file: dict[str, Any]) -> list[Fault]:
    """What Ray itself says against the file; its words, made one line."""
    # Ray has no public way to ask this.
    from ray.autoscaler._private.util import prepare_config, validate_config

    # It also logs and prints what it makes of a right file.
    logging.getLogger("ray.autoscaler").setLevel(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            validate_config(prepare_config(deepcopy(file)))
    except Exception as error:  # Ray raises whatever its code stumbles over: AttributeError, AssertionError, ...
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        where = ".".join(str(step) for step in getattr(error, "absolute_path", ())) or "(file)"
        return [Fault("schema", where, f"Ray refuses it: {lines[0] if lines else type(error).__name__}")]
    return []
