"""Parquet to columns, piece by piece; columns of lists become a column per place."""

from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ig3d_ray.data.tables.delimited import without_index
from ig3d_ray.data.tables.packed import Packed
from ig3d_ray.data.tables.pieces import Packer, Piece, piece
from ig3d_ray.data.tables.records import ROWS_AT_ONCE, record_pieces, split_matrix
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.parquet import check_seal


def read_parquet(file: BinaryIO, what: str) -> Packed:
    """The columns of a Parquet file.

    Args:
        file: that can be searched.
        what: begins messages.

    Raises:
        Ig3dError: it is damaged, has columns of one name, or nested ones that are no lists of one length.
    """
    packer = Packer()
    try:
        check_seal(file)
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            lists, worded = _list_columns(parquet.schema_arrow, what)
            widths: dict[str, int] = {}
            for batch in parquet.iter_batches(ROWS_AT_ONCE, use_threads=False):
                if worded:
                    # A list of classes beside the list of scores, in each row.
                    packer.add(record_pieces(batch.to_pylist(), what), batch.num_rows)
                else:
                    packer.add(_batch_pieces(batch, lists, widths, what), batch.num_rows)
    except Ig3dError:
        raise
    except Exception as error:  # of many types, as the damage has it
        reason = (" ".join(str(error).split()) or type(error).__name__)[:100]
        raise Ig3dError(f"{what}: not a whole Parquet file ({reason})") from error
    empty = next((name for name in lists if not worded and name not in widths), None)
    if empty is not None:
        raise Ig3dError(f"{what}: column {empty!r} has no list in any row; remove it, or give as many numbers in each")
    return without_index(packer.columns())


def _list_columns(schema: pa.Schema, what: str) -> tuple[list[str], bool]:
    """The columns of lists, and whether one of them has words.

    Raises:
        Ig3dError: two columns have one name, there is none, or one is nested otherwise.
    """
    if len(set(schema.names)) < len(schema.names):
        twice = next(name for name in schema.names if schema.names.count(name) > 1)
        raise Ig3dError(f"{what}: duplicate column {twice[:40]!r}")
    if not schema.names:
        raise Ig3dError(f"{what}: has no columns")
    kinds = {field.name: field.type for field in schema}
    lists = [n for n, k in kinds.items() if pa.types.is_list(k) or pa.types.is_large_list(k)]
    lists += [n for n, k in kinds.items() if pa.types.is_fixed_size_list(k)]
    nested = [name for name, kind in kinds.items() if pa.types.is_nested(kind) and name not in lists]
    if nested:
        raise Ig3dError(
            f"{what}: column {nested[0]!r} is {str(kinds[nested[0]])[:80]}; give one number per column and row"
        )
    return lists, any(pa.types.is_string(kinds[name].value_type) for name in lists)


def _batch_pieces(batch: pa.RecordBatch, lists: list[str], widths: dict[str, int], what: str) -> dict[str, Piece]:
    """Some rows' columns; the widths of lists are noted, and must stay the same."""
    found: dict[str, Piece] = {}
    for name in batch.schema.names:
        column = batch.column(name)
        column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        if name in lists:
            rows = column.to_pylist()
            sizes = {len(row) for row in rows if row is not None} | ({widths[name]} if name in widths else set())
            if not sizes:
                continue  # its width will be known when a row has a list; until then, all are empty
            if len(sizes) != 1:
                words = ", ".join(map(str, sorted(sizes)[:5])) or "no"
                raise Ig3dError(f"{what}: column {name!r} has lists of {words} numbers; give as many in each row")
            (widths[name],) = sizes
            found |= split_matrix(name, rows, widths[name])
        elif pa.types.is_floating(column.type):
            found[name] = Piece(column.cast(pa.float64()))
        else:
            found[name] = piece(column.to_pylist())
    return found
