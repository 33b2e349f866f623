"""One table of samples per dataset: sample ids, splits, labels and 3D parameters."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ig3d_ray.data import datasets
from ig3d_ray.data.representations import WIDTHS, Representation
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.parquet import table_from_bytes, table_to_bytes
from ig3d_ray.storage.store import Store
from ig3d_ray.types import SPLITS

SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("image", pa.string()),
        pa.field("expression", pa.int8()),
        pa.field("valence", pa.float32()),
        pa.field("arousal", pa.float32()),
        pa.field("emoca", pa.list_(pa.float32(), WIDTHS["emoca"])),
        pa.field("smirk", pa.list_(pa.float32(), WIDTHS["smirk"])),
    ]
)


@dataclass(frozen=True)
class Samples:
    """The samples of one dataset, or of some of its splits. A missing feature is null, never zeros.

    Args:
        dataset: the name of the dataset in the catalog.
        table: columns of `SCHEMA`; further columns are refused, missing nullable ones are added as nulls.

    Raises:
        Ig3dError: a column is missing, unknown or of the wrong type; a duplicate sample_id; a split, class
            or number is out of range. The message names the column and the first offending sample.
    """

    dataset: str
    table: pa.Table

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", _conform(self.dataset, self.table))
        _check_values(self.dataset, self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def ids(self) -> np.ndarray:
        """`[N]` str: the sample ids, in table order."""
        return np.asarray(self.table["sample_id"].to_pylist(), dtype=np.str_)

    @cached_property
    def expression(self) -> np.ndarray:
        """`[N]` int64: the class of each sample; -1 if missing."""
        return pc.fill_null(self.table["expression"], -1).to_numpy().astype(np.int64)

    @cached_property
    def va(self) -> np.ndarray:
        """`[N, 2]` float32: valence and arousal; NaN if missing."""
        columns = [pc.fill_null(self.table[c], float("nan")).to_numpy() for c in ("valence", "arousal")]
        return np.stack(columns, axis=1).astype(np.float32)

    def in_split(self, split: str) -> "Samples":
        """The samples of one split; none is not an error."""
        return Samples(self.dataset, self.table.filter(pc.equal(self.table["split"], split)))

    def with_feature(self, column: str) -> "Samples":
        """The samples that have an image or parameters."""
        return Samples(self.dataset, self.table.filter(pc.is_valid(self.table[column])))

    def params(self, representation: Representation) -> np.ndarray:
        """`[N, 334 | 358]` float32: the parameters of samples that all have them (see `with_feature`)."""
        column = self.table[representation].combine_chunks()
        if column.null_count:
            first = self.ids[column.is_null().to_numpy(zero_copy_only=False).argmax()]
            raise Ig3dError(f"{self.dataset}: sample {first} has no {representation} parameters")
        return column.flatten().to_numpy().reshape(len(self), WIDTHS[representation])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the content, 16 hex digits, independent of the order of rows."""
        table = self.table.sort_by("sample_id")
        about = datasets.dataset(self.dataset)
        own = "" if self.dataset in datasets.BUILT_IN else about.digest
        digest = hashlib.sha256(f"{self.dataset}{own}".encode())
        for field in SCHEMA:
            column = table[field.name].combine_chunks()
            digest.update(f"\0{field.name}\0".encode())
            digest.update(np.packbits(column.is_valid().to_numpy(zero_copy_only=False)).tobytes())
            if pa.types.is_string(field.type):
                digest.update("\0".join(value or "" for value in column.to_pylist()).encode())
            else:
                values = column.drop_null()
                flat = values.flatten() if pa.types.is_fixed_size_list(field.type) else values
                digest.update(np.ascontiguousarray(flat.to_numpy()).tobytes())
        return digest.hexdigest()[:16]

    def save(self, store: Store) -> None:
        """Publish the table in a store."""
        store.write(paths.samples_table(self.dataset), table_to_bytes(self.table))


def load_samples(store: Store, dataset: str) -> Samples:
    """The samples table of a dataset.

    Raises:
        Ig3dError: the store has none, or the file is broken.
    """
    datasets.use(store, dataset)
    name = paths.samples_table(dataset)
    if not store.exists(name):
        way_out = "ig3d data faces --storage URI" if dataset == "faces" else "docs/own-data.md"
        raise Ig3dError(f"{store.locate(name)}: dataset {dataset} has no samples table; see {way_out}")
    try:
        table = table_from_bytes(store.read(name))
    except pa.ArrowInvalid as error:
        raise Ig3dError(f"{store.locate(name)}: not a whole Parquet file ({error}); write it again") from error
    return Samples(dataset, table)


def _conform(dataset: str, table: pa.Table) -> pa.Table:
    unknown = sorted(set(table.column_names) - set(SCHEMA.names))
    if unknown:
        raise Ig3dError(f"{dataset} samples: unknown column {unknown[0]!r}; known: {', '.join(SCHEMA.names)}")
    columns = []
    for field in SCHEMA:
        if field.name not in table.column_names:
            if not field.nullable:
                raise Ig3dError(f"{dataset} samples: column {field.name!r} is missing")
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        try:
            columns.append(table[field.name].cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise Ig3dError(f"{dataset} samples: column {field.name!r} is not {field.type}: {reason}") from error
    return pa.table(columns, schema=SCHEMA)


def _check_values(dataset: str, table: pa.Table) -> None:
    ids = table["sample_id"].to_pylist()
    if None in ids:
        raise Ig3dError(f"{dataset} samples: row {ids.index(None)} has no sample_id")
    if len(set(ids)) != len(ids):
        first = next(sample_id for sample_id, count in Counter(ids).items() if count > 1)
        raise Ig3dError(f"{dataset} samples: duplicate sample_id {first!r} ({len(ids) - len(set(ids))} repeats)")
    split = table["split"].to_pylist()
    for sample_id, name in zip(ids, split, strict=True):
        if name not in SPLITS:
            raise Ig3dError(f"{dataset} samples: sample {sample_id!r}: split {name!r}; allowed: train, dev, test")
    classes = len(datasets.dataset(dataset).class_names)
    for column, low, high in (("expression", 0, classes - 1), ("valence", -1.0, 1.0), ("arousal", -1.0, 1.0)):
        values = table[column].to_numpy(zero_copy_only=False).astype(np.float64)
        present = table[column].is_valid().to_numpy()
        wrong = present & ~((values >= low) & (values <= high))
        if wrong.any():
            first = int(wrong.argmax())
            raise Ig3dError(
                f"{dataset} samples: sample {ids[first]!r}: {column} is {values[first]:g}, outside [{low:g}, {high:g}]"
                f" ({int(wrong.sum())} such samples)"
            )
    for name in WIDTHS:
        flat = table[name].combine_chunks().drop_null().flatten().to_numpy()
        if not np.isfinite(flat).all():
            present = np.flatnonzero(table[name].is_valid().to_numpy())
            row = present[np.flatnonzero(~np.isfinite(flat))[0] // WIDTHS[name]]
            raise Ig3dError(f"{dataset} samples: sample {ids[row]!r}: {name} holds NaN or infinity; use null instead")
