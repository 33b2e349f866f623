"""One table of samples per dataset: sample ids, splits, labels, subgroups and 3D parameters."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ig3d_ray.data import datasets, representations, samples_files
from ig3d_ray.data.representations import width_of
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Seen, Store
from ig3d_ray.types import SPLITS

SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("image", pa.string()),
        pa.field("expression", pa.int8()),
        pa.field("valence", pa.float32()),
        pa.field("arousal", pa.float32()),
        pa.field("group", pa.string()),
    ]
)
# The content of these counts for a fingerprint whether they are there or not; that of others where they are.
_ALWAYS = ("sample_id", "split", "image", "expression", "valence", "arousal", "emoca", "smirk")


def parameter_type(representation: str) -> pa.DataType:
    """The type of a column of parameters."""
    return pa.list_(pa.float32(), width_of(representation))


@dataclass(frozen=True)
class Samples:
    """The samples of one dataset, or of some of its splits. A missing feature is null, never zeros.

    Args:
        dataset: the name of the dataset.
        table: columns of `SCHEMA`, the data set's attributes, and one per representation (lists of its width);
            further columns are refused, missing nullable ones are added as nulls.
        unread: representations that the storage has, but that were not loaded.
        whole_fingerprint: of all content, where not all of it was loaded.
        presence: unread representation -> `[N]` bool, whether a sample has its parameters.

    Raises:
        Ig3dError: a column is missing, unknown or of the wrong type; a duplicate sample_id; a split, class
            or number is out of range. The message names the column and the first offending sample.
    """

    dataset: str
    table: pa.Table
    unread: frozenset[str] = field(default=frozenset(), compare=False)
    whole_fingerprint: str | None = field(default=None, compare=False)
    presence: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)

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

    @cached_property
    def groups(self) -> np.ndarray | None:
        """`[N]` str: what each sample belongs to, such as a video or a person, empty if nothing; None without any."""
        column = self.table["group"]
        return None if column.null_count == len(column) else np.asarray(pc.fill_null(column, "").to_pylist(), np.str_)

    @cached_property
    def attributes(self) -> dict[str, np.ndarray]:
        """Name -> `[N]` str of subgroups, such as gender; empty where it is not known."""
        there = [name for name in datasets.dataset(self.dataset).attributes if name in self.table.column_names]
        return {name: np.asarray(pc.fill_null(self.table[name], "").to_pylist(), np.str_) for name in there}

    @property
    def representations(self) -> list[str]:
        """The representations whose parameters some sample has, as far as that is known, sorted."""
        return sorted({*self._loaded, *(name for name, has in self.presence.items() if has.any())})

    @property
    def _loaded(self) -> list[str]:
        return [one.name for one in self.table.schema if pa.types.is_fixed_size_list(one.type)]

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the table; nulls for a representation that no sample has.

        Raises:
            Ig3dError: the representation was not loaded, or is unknown.
        """
        if name in self.table.column_names:
            return self.table[name]
        if name in self.unread:
            raise Ig3dError(f"{self.dataset}: {name} was not loaded; load_samples(..., only=[{name!r}])")
        return pa.chunked_array([pa.nulls(len(self), parameter_type(name))])

    def missing(self, feature: str) -> np.ndarray:
        """`[N]` bool: the samples without an image, or without parameters."""
        if feature in self.presence:
            return ~self.presence[feature]
        return self.column(feature).is_null().to_numpy().astype(bool)

    def _some(self, mask: np.ndarray) -> "Samples":
        """Some of the samples, which were checked before."""
        there = {name: has[mask] for name, has in self.presence.items()}
        some = object.__new__(Samples)
        for name, value in (
            ("dataset", self.dataset),
            ("table", self.table.filter(pa.array(mask))),
            ("unread", self.unread),
            ("whole_fingerprint", None),
            ("presence", there),
        ):
            object.__setattr__(some, name, value)
        return some

    def in_split(self, split: str) -> "Samples":
        """The samples of one split; none is not an error."""
        return self._some(pc.equal(self.table["split"], split).to_numpy().astype(bool))

    def with_feature(self, column: str) -> "Samples":
        """The samples that have an image or parameters."""
        return self._some(~self.missing(column))

    def params(self, representation: str) -> np.ndarray:
        """`[N, W]` float32: the parameters of samples that all have them (see `with_feature`)."""
        column = _whole(self.column(representation))
        if column.null_count:
            first = self.ids[column.is_null().to_numpy(zero_copy_only=False).argmax()]
            raise Ig3dError(f"{self.dataset}: sample {first} has no {representation} parameters")
        return column.flatten().to_numpy().reshape(len(self), width_of(representation))

    @property
    def light(self) -> "Samples":
        """The same samples without parameters, of which it is known who has them: cheap to filter."""
        names = self._loaded
        there = {name: ~self.missing(name) for name in names} | dict(self.presence)
        unread, whole = self.unread | set(names), self.whole_fingerprint if self.unread else None
        return Samples(self.dataset, self.table.drop_columns(names), unread, whole, there)

    def params_of(self, representation: str, ids: pa.ChunkedArray, columns: np.ndarray) -> np.ndarray:
        """`[K, D]` float32: some parameters of some samples, copied once.

        Args:
            representation: whose parameters.
            ids: `[K]`, of samples that have them.
            columns: `[D]` int, which of the numbers.
        """
        rows, start = pc.index_in(ids, value_set=self.table["sample_id"]).to_numpy(), 0
        found = np.empty((len(rows), len(columns)), dtype=np.float32)
        # Chunk by chunk, so that they are never in memory a second time as one.
        for chunk in self.column(representation).chunks:
            here = np.flatnonzero((rows >= start) & (rows < start + len(chunk)))
            # `flatten` would leave out samples without parameters.
            matrix = chunk.values.to_numpy(zero_copy_only=False).reshape(-1, width_of(representation))[chunk.offset :]
            found[here] = matrix[np.ix_(rows[here] - start, columns)]
            start += len(chunk)
        return found

    def without(self, representation: str) -> "Samples":
        """The samples without the parameters of a representation."""
        there = representation in self.table.column_names
        return Samples(self.dataset, self.table.drop_columns(representation) if there else self.table, self.unread)

    def with_parameters(self, representation: str, vectors: np.ndarray, found: np.ndarray) -> "Samples":
        """The samples with new parameters where they were found, and the old ones elsewhere.

        Args:
            representation: whose parameters.
            vectors: `[K, W]`.
            found: `[N]`, the index of each sample's vector; -1 for none.
        """
        width = width_of(representation)
        old, there = self.column(representation).combine_chunks(), found >= 0
        missing = old.is_null().to_numpy(zero_copy_only=False)
        values = np.zeros((len(self), width), np.float32)
        values[~missing] = old.drop_null().flatten().to_numpy().reshape(-1, width)
        values[there] = vectors[found[there]]
        flat, mask = pa.array(values.reshape(-1)), pa.array(missing & ~there)
        column = pa.FixedSizeListArray.from_arrays(flat, type=parameter_type(representation), mask=mask)
        table = self.without(representation).table.append_column(representation, column)
        return Samples(self.dataset, table, self.unread)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the content, 16 hex digits, independent of the order of rows and columns."""
        if self.whole_fingerprint is not None:
            return self.whole_fingerprint
        if self.unread:
            raise Ig3dError(
                f"{self.dataset}: {', '.join(sorted(self.unread))} was not loaded; load all for a fingerprint"
            )
        table = self.table.sort_by("sample_id")
        about = datasets.dataset(self.dataset)
        own = "" if self.dataset in datasets.BUILT_IN else about.digest
        digest = hashlib.sha256(f"{self.dataset}{own}".encode())
        more = sorted(n for n in table.column_names if n not in _ALWAYS and table[n].null_count < len(self))
        for name in (*_ALWAYS, *more):
            column = table[name] if name in table.column_names else self.column(name)
            column = column.combine_chunks()
            digest.update(f"\0{name}\0".encode())
            digest.update(np.packbits(column.is_valid().to_numpy(zero_copy_only=False)).tobytes())
            if pa.types.is_string(column.type):
                digest.update("\0".join(value or "" for value in column.to_pylist()).encode())
            else:
                values = column.drop_null()
                flat = values.flatten() if pa.types.is_fixed_size_list(values.type) else values
                digest.update(np.ascontiguousarray(flat.to_numpy()).tobytes())
        return digest.hexdigest()[:16]

    def save(self, store: Store, over: Seen | None = None) -> None:
        """Publish the table in a store; parameters lie beside it, in a file per representation.

        Args:
            store: where.
            over: the table that it replaces; any by default.

        Raises:
            Ig3dError: not all of the parameters were loaded, or another table was published meanwhile.
        """
        if self.unread:
            raise Ig3dError(f"{self.dataset}: {', '.join(sorted(self.unread))} not loaded, so the table can't be saved")
        samples_files.write(store, self.dataset, self.table, self.representations, self.fingerprint, over)


def load_samples(store: Store, dataset: str, only: Collection[str] | None = None, presence: bool = False) -> Samples:
    """The samples table of a dataset.

    Args:
        store: where it is.
        dataset: its name.
        only: representations whose parameters are loaded; all by default.
        presence: whether it is read which samples have the other representations.

    Raises:
        Ig3dError: the store has none, or the file is broken.
    """
    datasets.use(store, dataset)
    representations.known_in(store)
    name = paths.samples_table(dataset)
    if not store.exists(name):
        way_out = "ig3d data faces --storage URI" if dataset == "faces" else "docs/own-data.md"
        raise Ig3dError(f"{store.locate(name)}: dataset {dataset} has no samples table; see {way_out}")
    stored = samples_files.read(store, dataset, only, presence)
    whole = stored.fingerprint if stored.unread else None
    samples = Samples(dataset, stored.table, stored.unread, whole, stored.presence)
    # Decoding takes as much again as the values, which Arrow would keep for later.
    pa.default_memory_pool().release_unused()
    return samples


def _conform(dataset: str, table: pa.Table) -> pa.Table:
    attributes = datasets.dataset(dataset).attributes
    of_parameters = [name for name in table.column_names if name not in SCHEMA.names and representations.find(name)]
    known = {*SCHEMA.names, *attributes, *of_parameters}
    unknown = sorted(set(table.column_names) - known)
    if unknown:
        names = ", ".join((*SCHEMA.names, *attributes, "representations"))
        raise Ig3dError(f"{dataset} samples: unknown column {unknown[0]!r}; known: {names}")
    fields = list(SCHEMA) + [pa.field(name, pa.string()) for name in attributes if name in table.column_names]
    fields += [pa.field(name, parameter_type(name)) for name in of_parameters]
    columns = []
    for one in fields:
        if one.name not in table.column_names:
            if not one.nullable:
                raise Ig3dError(f"{dataset} samples: column {one.name!r} is missing")
            columns.append(pa.nulls(table.num_rows, one.type))
            continue
        try:
            columns.append(table[one.name].cast(one.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise Ig3dError(f"{dataset} samples: column {one.name!r} is not {one.type}: {reason}") from error
    return pa.table(columns, schema=pa.schema(fields))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; a single chunk is not copied."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _check_values(dataset: str, table: pa.Table) -> None:
    ids = table["sample_id"]
    if ids.null_count:
        row = int(ids.is_null().to_numpy().argmax())
        raise Ig3dError(f"{dataset} samples: row {row} has no sample_id")
    repeats = len(ids) - pc.count_distinct(ids).as_py()
    if repeats:
        first = next(sample_id for sample_id, count in Counter(ids.to_pylist()).items() if count > 1)
        raise Ig3dError(f"{dataset} samples: duplicate sample_id {first!r} ({repeats} repeats)")
    known = pc.is_in(table["split"], value_set=pa.array(SPLITS)).to_numpy().astype(bool)
    if not known.all():
        row = int((~known).argmax())
        name = table["split"][row].as_py()
        raise Ig3dError(f"{dataset} samples: sample {ids[row].as_py()!r}: split {name!r}; allowed: train, dev, test")
    classes = len(datasets.dataset(dataset).class_names)
    for column, low, high in (("expression", 0, classes - 1), ("valence", -1.0, 1.0), ("arousal", -1.0, 1.0)):
        values = table[column].to_numpy().astype(np.float64)
        present = table[column].is_valid().to_numpy()
        wrong = present & ~((values >= low) & (values <= high))
        if wrong.any():
            first = int(wrong.argmax())
            which = ids[first].as_py()
            raise Ig3dError(
                f"{dataset} samples: sample {which!r}: {column} is {values[first]:g}, outside [{low:g}, {high:g}]"
                f" ({int(wrong.sum())} such samples)"
            )
    for name in (n for n in table.column_names if pa.types.is_fixed_size_list(table.schema.field(n).type)):
        start = 0
        for vectors in table[name].chunks:
            flat = (vectors.drop_null() if vectors.null_count else vectors).flatten().to_numpy()
            if not np.isfinite(flat).all():
                present = np.flatnonzero(vectors.is_valid().to_numpy(zero_copy_only=False))
                row = start + int(present[np.flatnonzero(~np.isfinite(flat))[0] // width_of(name)])
                raise Ig3dError(
                    f"{dataset} samples: sample {ids[row].as_py()!r}: {name} holds NaN or infinity; use null instead"
                )
            start += len(vectors)
