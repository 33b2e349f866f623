"""Predictions written incrementally, in the format of the file's suffix; published atomically."""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import TextIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.local_files import partial_of, sweep_partials_of


class Writer:
    """Context manager that writes frames with the same columns to a local .parquet, .csv or .jsonl file.

    The file is replaced when the context exits without an exception; otherwise it stays unchanged.

    Args:
        out: the file.

    Raises:
        Ig3dError: on entering, if it can't be written.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.rows, self._begun = out, 0, False
        self._suffix = out.suffix.lower()
        # Named as other unpublished files are, so that one left by a killed process is swept in a storage; and not to
        # be guessed, so that nobody else can put a link there first.
        self._partial = partial_of(out)
        self._parquet: pq.ParquetWriter | None = None
        self._text: TextIO | None = None

    def __enter__(self) -> "Writer":
        try:
            if self.out.is_dir():
                raise IsADirectoryError(0, "is a folder")
            sweep_partials_of(self.out)
            # Created here and nowhere else: a link that is there is refused, not followed.
            os.close(os.open(self._partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o666))
        except OSError as error:
            raise self._told(error) from error
        if self._suffix != ".parquet":
            self._text = self._partial.open("w", encoding="utf-8", newline="")
        return self

    def write(self, frame: pd.DataFrame) -> None:
        """Append a frame.

        Raises:
            Ig3dError: the disk is full, or another disk error occurred.
        """
        try:
            self._append(frame)
        except OSError as error:
            raise self._told(error) from error

    def _append(self, frame: pd.DataFrame) -> None:
        if self._text is None:
            table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
            self._parquet = self._parquet or pq.ParquetWriter(self._partial, table.schema, compression="zstd")
            self._parquet.write_table(table.cast(self._parquet.schema))
        elif self._suffix == ".csv":
            frame.to_csv(self._text, index=False, header=not self._begun, lineterminator="\n")
        elif len(frame):
            frame.to_json(self._text, orient="records", lines=True, force_ascii=False, double_precision=15)
        self.rows, self._begun = self.rows + len(frame), True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for file in (self._parquet, self._text):
                if file is not None:
                    file.close()
            if kind is None:
                os.replace(self._partial, self.out)
        except OSError as failed:
            # While another error is being raised, that one is reported.
            if kind is None:
                raise self._told(failed) from failed
        finally:
            with contextlib.suppress(OSError):
                self._partial.unlink(missing_ok=True)

    def _told(self, error: OSError) -> Ig3dError:
        return Ig3dError(f"--out {self.out}: cannot be written ({error.strerror or error}); give another file")
