"""Text columns as arrays, whose memory is that of the longest text times the number of rows."""

import pyarrow as pa
import pyarrow.compute as pc

from ig3d_ray.errors import Ig3dError

BYTES_PER_CHARACTER = 4
MOST_BYTES = 1 << 28


class TextTooLongError(Ig3dError):
    """One text is so much longer than others that its column would not fit into memory; the message names the row."""


def check_length(texts: pa.ChunkedArray) -> None:
    """Check that texts fit into memory as an array of numpy's str.

    Args:
        texts: of a column.

    Raises:
        TextTooLongError: the array would take more than 256 MiB and twice what the texts take.
    """
    lengths = pc.utf8_length(texts, memory_pool=pa.system_memory_pool())
    longest = pc.max(lengths).as_py() or 0
    needed = longest * len(texts) * BYTES_PER_CHARACTER
    if needed > MOST_BYTES and needed > 2 * BYTES_PER_CHARACTER * pc.sum(lengths).as_py():
        row = pc.index(lengths, longest).as_py() + 1
        raise TextTooLongError(f"row {row}: a text of {longest} characters; ids, classes and paths are shorter")
