"""Retries of transient object store failures: throttling, server errors, dropped connections."""

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 8.0
# Errors that no retry resolves; by name, so that botocore isn't imported for a local folder.
_FINAL = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "ParamValidationError",
    "InvalidRegionError",
}
_FINAL_TYPES = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)
_FINAL_ERRNOS = {errno.EINVAL, errno.ENAMETOOLONG, errno.ENOSPC, errno.EROFS}
_PASSING_STATUS = {408, 425, 429}
_NETWORK = ("botocore", "aiobotocore", "aiohttp", "urllib3", "google", "gcsfs", "azure")


def passes(error: BaseException) -> bool:
    """Whether an error of a storage library may be transient."""
    if isinstance(error, _FINAL_TYPES) or type(error).__name__ in _FINAL:
        return False
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        return status >= 500 or status in _PASSING_STATUS
    if isinstance(error, OSError):
        return error.errno not in _FINAL_ERRNOS
    return isinstance(error, TimeoutError) or type(error).__module__.split(".")[0] in _NETWORK


def patiently(call: Callable[[], T], patience: float = PATIENCE_SECONDS) -> T:
    """Call until it succeeds, with exponential backoff and random jitter.

    Args:
        call: may run more than once.
        patience: seconds after which an error is final; 0 for one call.

    Raises:
        Exception: the call's last one.
    """
    deadline, pause = time.monotonic() + patience, FIRST_PAUSE
    while True:
        try:
            return call()
        except Exception as error:
            # Many workers fail at the same time; they must not retry at the same time.
            wait = pause * (0.5 + random.random())
            if not passes(error) or time.monotonic() + wait > deadline:
                raise
        time.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)
