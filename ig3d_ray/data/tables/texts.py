"""Text columns as arrays, whose memory is that of the longest text times the number of rows."""

from collections.abc import Sequence

import numpy as np

from ig3d_ray.errors import Ig3dError

BYTES_PER_CHARACTER = 4
MOST_BYTES = 1 << 28


class TextTooLongError(Ig3dError):
    """One text is so much longer than others that its column would not fit into memory; the message names the row."""


def as_text(values: Sequence[str]) -> np.ndarray:
    """Texts as an array of numpy's str.

    Args:
        values: of a column.

    Raises:
        TextTooLongError: the array would take more than 256 MiB and twice what the texts take.
    """
    longest = max(map(len, values), default=0)
    needed = longest * len(values) * BYTES_PER_CHARACTER
    if needed > MOST_BYTES and needed > 2 * BYTES_PER_CHARACTER * sum(map(len, values)):
        row = next(number for number, value in enumerate(values, 1) if len(value) == longest)
        raise TextTooLongError(f"row {row}: a text of {longest} characters; ids, classes and paths are shorter")
    return np.array(values, dtype=np.str_)
