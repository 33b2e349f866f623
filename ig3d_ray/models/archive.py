"""Reading torch's files: nothing that they name is run, and what is damaged is refused."""

import hashlib
import io
import json
import zipfile
from typing import Any

import torch

from ig3d_ray.errors import Ig3dError

DIGEST = "sha256"


def check_archive(data: bytes, what: str, way_out: str) -> None:
    """Check the checksums in a file that torch wrote, which torch itself doesn't verify.

    Args:
        data: the file.
        what: its name, with which the message begins.
        way_out: what to do, with which it ends.

    Raises:
        Ig3dError: it is damaged.
    """
    if data[:2] != b"PK":
        return  # torch's older form has no checksums
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            damaged = archive.testzip() if len(set(names)) == len(names) else "two entries of one name"
    except Exception as error:  # of many types, as the damage has it
        raise Ig3dError(f"{what}: not a whole checkpoint ({_reason(error)}); {way_out}") from error
    if damaged is not None:
        raise Ig3dError(f"{what}: not a whole checkpoint (checksum of {damaged} is wrong); {way_out}")


def load_plain(data: bytes, what: str, way_out: str) -> Any:
    """Tensors and plain values that `torch.save` wrote.

    Args:
        data: the file.
        what: its name, with which the message begins.
        way_out: what to do, with which it ends.

    Raises:
        Ig3dError: it is damaged, truncated, or holds anything else.
    """
    check_archive(data, what, way_out)
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # of many types, as the damage has it
        raise Ig3dError(f"{what}: not a whole checkpoint ({_reason(error)}); {way_out}") from error


def content_digest(content: dict[str, Any]) -> str:
    """SHA-256 of tensors by name, and of plain values, whatever file they are in.

    Args:
        content: with `state_dict`, name -> tensor; the others are values that JSON has.
    """
    digest = hashlib.sha256()
    plain = {key: value for key, value in content.items() if key not in ("state_dict", DIGEST)}
    digest.update(json.dumps(plain, sort_keys=True).encode())
    for name, value in content["state_dict"].items():
        digest.update(f"\0{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text.split(". ")[0] if text else type(error).__name__)[:100]
