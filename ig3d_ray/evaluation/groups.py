"""Samples that belong together, such as the frames of a video or the photographs of a person."""

import re

import numpy as np

from ig3d_ray.errors import Ig3dError

FRAMES_AT_LEAST = 5
VIDEOS_AT_LEAST = 10
_NUMBER = re.compile(r"^(.*?)[^0-9A-Za-z]*\d+(?:\.[A-Za-z0-9]+)?$")


def groups_of(ids: np.ndarray, known: np.ndarray | None, pattern: str | None) -> np.ndarray | None:
    """The group of each sample, `[N]` int; None where each is a group of its own.

    Args:
        ids: `[N]` str.
        known: `[N]` str, empty where there is none: of the samples table or the imported labels.
        pattern: a regular expression whose first group, in the id, names the sample's group; it has precedence.

    Raises:
        Ig3dError: an id doesn't fit the pattern.
    """
    if pattern is not None:
        found = [re.search(pattern, one) for one in ids.tolist()]
        if None in found:
            first = ids[found.index(None)]
            raise Ig3dError(f"protocol.group_by {pattern!r}: finds nothing in sample {first}; change the pattern")
        names = np.array([match[1] or "" for match in found if match is not None])
    elif known is not None:
        names = known
    else:
        return None
    alone = names == ""
    codes = np.unique(names, return_inverse=True)[1]
    codes[alone] = codes.max(initial=0) + 1 + np.arange(int(alone.sum()))
    codes = np.unique(codes, return_inverse=True)[1]
    return codes.astype(np.int64) if codes.max(initial=-1) + 1 < len(ids) else None


def frames_of(ids: np.ndarray, labels: np.ndarray) -> tuple[int, str] | None:
    """How many videos the ids look like frames of, and the name of one; None if they don't.

    Args:
        ids: `[N]` str.
        labels: `[N]` classes, or `[N, 2]`. Folders named after classes are no videos.
    """
    found = [_NUMBER.match(one) for one in ids.tolist()]
    starts = [match[1] if match else one for match, one in zip(found, ids.tolist(), strict=True)]
    names, of = np.unique(starts, return_inverse=True)
    if len(names) < VIDEOS_AT_LEAST or len(ids) < FRAMES_AT_LEAST * len(names):
        return None
    if labels.ndim == 1 and len(names) <= len(np.unique(labels)):
        return None
    return len(names), str(names[np.bincount(of).argmax()])
