"""Starting Ray on this machine alone."""

import logging

from ig3d_ray.errors import Ig3dError, is_termination

TRIES = 3
logger = logging.getLogger(__name__)


def start_here() -> None:
    """Start Ray on this machine. A start that fails is repeated: its ports are chosen before they are bound, so another
    program may take one, and its processes may answer too late on a busy machine.

    Raises:
        Ig3dError: it can't be started.
    """
    import ray

    for number in range(1, TRIES + 1):
        try:
            ray.init(address="local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
            return
        except Exception as error:
            if is_termination(error):
                raise
            ray.shutdown()
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[
                :120
            ]
            if number == TRIES:
                raise Ig3dError(
                    f"Ray could not be started on this machine ({reason}); free memory and processor, look at"
                    " /tmp/ray/session_latest/logs, and start again"
                ) from error
            logger.warning("Ray did not start (%s); once more", reason)
