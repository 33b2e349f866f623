"""The files of a samples table: the table itself, and parameters in a file per representation.

Files of parameters are named by their content and written first, so the table, which names them, is always whole.
Schema versions of the table: 1 had the parameters as columns, and is still read; 2 has them in files of their own.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.parquet import table_from_bytes, table_to_bytes
from ig3d_ray.storage.store import Seen, Store

SCHEMA_VERSION = 2
METADATA = b"ig3d"


@dataclass(frozen=True)
class Stored:
    """What was read.

    Attributes:
        table: with a column for each representation that was asked for.
        unread: the other representations.
        fingerprint: of all content; None in tables of schema version 1.
        presence: unread representation -> `[N]` bool, where that was asked for.
    """

    table: pa.Table
    unread: frozenset[str]
    fingerprint: str | None
    presence: Mapping[str, np.ndarray]


def write(
    store: Store,
    dataset: str,
    table: pa.Table,
    representations: Sequence[str],
    fingerprint: str,
    over: Seen | None = None,
) -> None:
    """Publish a table with its parameters.

    Args:
        store: where.
        dataset: its name.
        table: with the parameters as columns.
        representations: names of these columns.
        fingerprint: of the content.
        over: the table that it replaces; any by default.
    """
    files = {}
    for name in representations:
        column = table[name].combine_chunks()
        if column.null_count == len(column):
            continue
        there = column.is_valid()
        content = pa.table({"sample_id": table["sample_id"].filter(there), "values": column.filter(there)})
        digest = _digest(content)
        files[name] = digest
        place = paths.parameter_table(dataset, name, digest)
        if not store.exists(place):
            store.write(place, table_to_bytes(content))
    about = {"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint, "parameters": files}
    core = table.drop_columns(list(representations))
    core = core.replace_schema_metadata({METADATA: json.dumps(about, sort_keys=True).encode()})
    place, data = paths.samples_table(dataset), table_to_bytes(core)
    store.write(place, data) if over is None else store.replace(place, data, over)


def read(store: Store, dataset: str, only: Collection[str] | None, presence: bool = False) -> Stored:
    """Read a table with the parameters of some representations.

    Args:
        store: where.
        dataset: its name.
        only: representations to read; all by default.
        presence: whether it is read which samples have the others.

    Raises:
        Ig3dError: a file is broken or missing, or of another schema version.
    """
    name = paths.samples_table(dataset)
    table = _table(store, name)
    about = json.loads((table.schema.metadata or {}).get(METADATA, b"{}"))
    version = about.get("schema_version", 1)
    if version not in (1, SCHEMA_VERSION):
        raise Ig3dError(
            f"{store.locate(name)}: schema_version {version}; this version of ig3d reads 1 and {SCHEMA_VERSION}:"
            " make the data set again, or use the version of ig3d that wrote it"
        )
    table, files = table.replace_schema_metadata(None), about.get("parameters", {})
    wanted = [one for one in files if only is None or one in only]
    for one in wanted:
        table = table.append_column(one, _column(store, paths.parameter_table(dataset, one, files[one]), table))
    unread = frozenset(files) - set(wanted)
    ids = table["sample_id"].combine_chunks()
    there = {
        one: pc.is_in(ids, value_set=_with_parameters(store, paths.parameter_table(dataset, one, files[one]))).to_numpy(
            zero_copy_only=False
        )
        for one in (sorted(unread) if presence else ())
    }
    return Stored(table, unread, about.get("fingerprint"), there)


@lru_cache(maxsize=8)
def _with_parameters(store: Store, name: str) -> pa.Array:
    """The samples that a file of parameters has; files are named by their content, so each is read once."""
    return _table(store, name, ["sample_id"])["sample_id"].combine_chunks()


def _table(store: Store, name: str, columns: list[str] | None = None) -> pa.Table:
    try:
        return table_from_bytes(store.read(name), columns=columns)
    except pa.ArrowInvalid as error:
        raise Ig3dError(f"{store.locate(name)}: not a whole Parquet file ({error}); write it again") from error


def _column(store: Store, name: str, table: pa.Table) -> pa.ChunkedArray:
    """The parameters in the order of the table; null where there are none. In chunks as they are stored, since one
    array would be a second copy."""
    content = _table(store, name)
    ids, values = content["sample_id"].combine_chunks(), content["values"]
    if ids.equals(table["sample_id"].combine_chunks()):
        return values
    return values.take(pc.index_in(table["sample_id"].combine_chunks(), value_set=ids))


def _digest(content: pa.Table) -> str:
    digest = hashlib.sha256("\0".join(content["sample_id"].to_pylist()).encode())
    digest.update(np.ascontiguousarray(content["values"].combine_chunks().flatten().to_numpy()).tobytes())
    return digest.hexdigest()[:16]
