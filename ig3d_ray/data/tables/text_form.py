"""How a file of delimited text is written: what a library that reads tables of numbers has to be given."""

import csv
import io
import re
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

from ig3d_ray.data.tables.delimited import LINES_LOOKED_AT, SEP, delimiter_of, encodings_of
from ig3d_ray.errors import Ig3dError

DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")


@dataclass(frozen=True)
class Form:
    """How delimited text is written.

    Attributes:
        encoding: by its name in Python.
        delimiter: between fields; a blank stands for any number of blanks.
        decimal: the decimal sign of its numbers.
        before: lines before the header.
    """

    encoding: str
    delimiter: str
    decimal: str
    before: int


def form_of(file: BinaryIO, what: str) -> Form:
    """How a file of delimited text is written, by its first lines; for readers of tables of numbers.

    Args:
        file: at its beginning, where it is left again.
        what: the file, for messages.

    Raises:
        Ig3dError: it has no lines, or is not text.
    """
    for encoding in encodings_of(file.read(200)):
        file.seek(0)
        text = io.TextIOWrapper(file, encoding)
        try:
            lines = list(islice(text, LINES_LOOKED_AT))
        except UnicodeDecodeError:
            continue
        finally:
            text.detach()
            file.seek(0)
        before = next((at for at, line in enumerate(lines) if line.strip() and not _is_remark(line)), None)
        if before is None:
            raise Ig3dError(f"{what}: no rows")
        some = [line for line in lines[before:] if line.strip()]
        delimiter = next((line.strip().strip('"')[4:] for line in lines[:before] if SEP.fullmatch(line.strip())), "")
        delimiter = delimiter or delimiter_of(some)
        fields = [field.strip() for row in csv.reader(some[1:], delimiter=delimiter) for field in row]
        with_commas = delimiter != "," and any(DECIMAL_COMMA.fullmatch(field) for field in fields)
        return Form(encoding, delimiter, "," if with_commas else ".", before)
    raise Ig3dError(f"{what}: not text in UTF-8, UTF-16 or Windows-1252; save it as CSV in UTF-8")


def _is_remark(line: str) -> bool:
    return line.lstrip().startswith("#") or SEP.fullmatch(line.strip()) is not None
