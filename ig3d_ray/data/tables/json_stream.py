"""JSON read piece by piece: the elements of a list and the keys of an object, without the whole text in memory."""

import codecs
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from ig3d_ray.errors import Ig3dError

BYTES_AT_ONCE = 1 << 20
NEAR = 16
"""Characters from the end of what was read so far, within which an error may be due to that end."""
_DECODER = json.JSONDecoder()
_WHITE = " \t\n\r"


class JsonStream:
    """The values of a JSON text.

    Args:
        file: at its beginning; UTF-8, or UTF-16 with a byte order mark.
        what: the file, for messages.
    """

    def __init__(self, file: BinaryIO, what: str) -> None:
        self._file, self._what = file, what
        self._text, self._at, self._ended = "", 0, False
        head = file.read(2)
        encoding = "utf-16" if head in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._head = head

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _WHITE:
                self._at += 1
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """The next value.

        Raises:
            Ig3dError: there is none, or it is nested too deeply.
        """
        while True:
            if not self.peek():
                raise self.error("it ends too soon")
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - NEAR
                if unfinished and self._more():
                    continue
                raise self.error(error.msg) from error
            except ValueError as error:
                raise self.error(str(error)) from error
            except RecursionError as error:
                raise Ig3dError(f"{self._what}: nested too deeply to be a table of predictions") from error
            if end > len(self._text) - NEAR and self._more():
                continue  # a number may go on
            self._at = end
            return value

    def elements(self) -> Iterator[Any]:
        """The elements of a list."""
        self._take("[")
        while self.peek() != "]":
            yield self.value()
            self._comma("]")
        self._take("]")

    def each_key(self, is_within: bool = False) -> Iterator[str]:
        """The keys of an object; after each, its value has to be read.

        Args:
            is_within: whether some of its entries were read, the last one with its value.
        """
        self._comma("}") if is_within else self._take("{")
        while self.peek() != "}":
            if self.peek() != '"':
                raise self.error("a key in quotes is missing")
            key = str(self.value())
            self._take(":")
            yield key
            self._comma("}")
        self._take("}")

    def end(self) -> None:
        """Check that nothing is left.

        Raises:
            Ig3dError: there is.
        """
        if self.peek():
            raise self.error(f"{self.peek()!r} after its end")

    def error(self, why: str) -> Ig3dError:
        """The error of a text that is no JSON.

        Args:
            why: not.
        """
        return Ig3dError(f"{self._what}: not valid JSON ({why[:100]})")

    def _comma(self, closing: str) -> None:
        if self.peek() != closing:
            self._take(",")
            if self.peek() == closing:
                raise self.error(f"{closing!r} after a comma")

    def _take(self, expected: str) -> None:
        if self.peek() != expected:
            raise self.error(f"{expected!r} is missing before {self.peek()!r}")
        self._at += 1

    def _more(self) -> bool:
        """Read on; as much again as is not yet used, so that a long value is tried few times."""
        if self._ended:
            return False
        data = self._head + self._file.read(max(BYTES_AT_ONCE, len(self._text) - self._at))
        self._head, self._ended = b"", not data
        try:
            more = self._decoder.decode(data, final=self._ended)
        except UnicodeDecodeError as error:
            raise Ig3dError(f"{self._what}: not UTF-8 text ({error.reason})") from error
        self._text, self._at = self._text[self._at :] + more, 0
        return True
