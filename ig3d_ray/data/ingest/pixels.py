"""Images as numbers in a column of a table, as FER2013 is handed out: square, grey, row by row."""

import io
import math

from PIL import Image


def encoded_pixels(value: object) -> bytes:
    """A PNG file of the image whose grey values a text lists.

    Args:
        value: S x S whole numbers from 0 to 255, separated by blanks, row by row.

    Raises:
        ValueError: they are no square image.
    """
    words = str(value).split()
    side = math.isqrt(len(words))
    try:
        values = bytes(map(int, words))
    except ValueError as error:
        raise ValueError("not whole numbers from 0 to 255, separated by blanks") from error
    if side * side != len(words) or not side:
        raise ValueError(f"{len(words)} numbers are no square image")
    file = io.BytesIO()
    Image.frombytes("L", (side, side), values).save(file, "PNG")
    return file.getvalue()
