"""What a storage refuses or ignores: the reason in one line, and what is not safe on a storage that is only like S3."""

import logging
from collections.abc import Iterator

logger = logging.getLogger(__name__)
_warned: set[tuple[str, str]] = set()


def reason_of(error: Exception) -> str:
    """A one-line message for an exception of a storage library, with a suggested fix.

    Args:
        error: what the library raised.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    if "credentials" in text.lower():
        return "no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a machine role"
    if "bucket does not exist" in text:
        return "the bucket does not exist; create it or check --storage"
    if isinstance(error, PermissionError):
        return "permission denied; choose a --storage that you can write"
    if isinstance(error, NotADirectoryError | FileExistsError):
        return f"{text}; choose a --storage that is a folder"
    if takes_no_checksums(error):
        return f"it takes no checksums ({text[:80]}); set AWS_REQUEST_CHECKSUM_CALCULATION=when_required and try again"
    return text


def takes_no_checksums(error: Exception) -> bool:
    """Whether a storage refused a request because of the checksums that newer S3 clients add.

    Args:
        error: what the library raised.
    """
    text = str(error).lower()
    return any(word in text for word in ("checksum", "contentsha256", "x-amz-trailer", "aws-chunked"))


def has_no_conditions(error: Exception) -> bool:
    """Whether a storage refused a write because it has a condition (`If-None-Match`), which it does not implement.

    Args:
        error: what the library raised.
    """
    chain = list(_chain(error))
    if any(_code(one) in ("NotImplemented", "501") for one in chain) or isinstance(error, NotImplementedError):
        return True
    return any(word in str(one) for one in chain for word in ("NotImplemented", "not implemented"))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__


def _code(error: BaseException) -> str:
    """The code of a storage's response; empty for other exceptions."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def condition_failed(error: Exception) -> bool:
    """Whether a storage refused a conditional write because what it was to replace has changed, or is gone.

    Args:
        error: what the library raised.
    """
    if isinstance(error, FileExistsError | FileNotFoundError):
        return True
    return any(_code(one) in ("PreconditionFailed", "412", "ConditionalRequestConflict") for one in _chain(error))


def warn_unsafe(uri: str, what: str) -> None:
    """Warn, once per storage, of what is not safe there.

    Args:
        uri: of the storage.
        what: it does.
    """
    if (uri, what) not in _warned:
        _warned.add((uri, what))
        logger.warning(
            f"storage {uri}: {what}, so two runs at the same time may both train a member or run a search: start one"
            " run at a time"
        )
