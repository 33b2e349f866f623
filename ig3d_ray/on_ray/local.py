"""Starting Ray on this machine alone: reachable from this machine only, with a token, in a folder with a short path."""

import atexit
import logging
import os
import secrets
import sys
import tempfile
from pathlib import Path

from ig3d_ray.errors import Ig3dError, is_termination

TRIES = 3
# A socket's path has 107 characters at most; Ray appends 64, `/session_DATE_PID/sockets/plasma_store`.
LONGEST_FOLDER = 40
logger = logging.getLogger(__name__)


def start_here() -> None:
    """Start Ray on this machine. A start that fails is repeated: its ports are chosen before they are bound, so another
    program may take one, and its processes may answer too late on a busy machine.

    Raises:
        Ig3dError: it can't be started.
    """
    folder = ray_folder()
    use_own_token()  # before the import, during which Ray reads the mode
    import ray

    from ig3d_ray.on_ray.compat import loopback_only

    for number in range(1, TRIES + 1):
        try:
            with loopback_only() as address:
                ray.init(
                    address="local",
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    _node_ip_address=address,
                    _temp_dir=folder,
                )
            return
        except Exception as error:
            if is_termination(error):
                raise
            ray.shutdown()
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            if number == TRIES:
                raise Ig3dError(
                    f"Ray could not be started on this machine ({reason[:120]}); free memory and processor, look at"
                    f" {folder}/session_latest/logs, and start again"
                ) from error
            logger.warning("Ray did not start (%s); once more", reason[:120])


def ray_folder() -> str:
    """The folder for Ray's sessions: `ray` in RAY_TMPDIR, in TMPDIR or in /tmp, the first that has a short enough path
    and can be written to; otherwise a new one in /tmp.

    Raises:
        Ig3dError: none of them can be written to.
    """
    for place in (os.environ.get("RAY_TMPDIR"), os.environ.get("TMPDIR"), "/tmp"):  # noqa: S108 (Ray's own place)
        if place and len(folder := os.path.join(os.path.abspath(place), "ray")) <= LONGEST_FOLDER:
            there = folder if os.path.exists(folder) else os.path.dirname(folder)
            if os.access(there, os.W_OK | os.X_OK):
                return folder
    try:
        return tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    except OSError as error:
        raise Ig3dError(
            f"no folder for Ray's files: /tmp cannot be written to ({error.strerror}); set RAY_TMPDIR to a folder whose"
            f" path has at most {LONGEST_FOLDER - 4} characters"
        ) from error


def use_own_token() -> None:
    """Have Ray's processes ask each other for a token, by a file that only this user can read.

    Without one given, Ray would write its own, readable by everyone, to ~/.ray. Ray reads it once per process, so the
    file stays until this process ends.

    Raises:
        Ig3dError: Ray was imported before, and has read that it asks for no token, which can't be changed.
    """
    if "ray" in sys.modules:
        if not os.environ.get("RAY_AUTH_MODE"):
            raise Ig3dError(
                "Ray was imported without token authentication: set RAY_AUTH_MODE=token in the environment"
                " before `import ray`, or give the address of a running cluster"
            )
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    handle, name = tempfile.mkstemp(prefix="ig3d-token-")
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    os.environ["RAY_AUTH_TOKEN_PATH"] = name
    atexit.register(_remove_token, name, os.getpid())


def _remove_token(name: str, owner: int) -> None:
    if os.getpid() == owner:
        Path(name).unlink(missing_ok=True)
