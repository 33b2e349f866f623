"""3D parameters from one merged file: CSV by column names or positions, NPZ, Parquet."""

import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ig3d_ray.data.datasets.class_names import normalized
from ig3d_ray.data.ids import SUFFIX
from ig3d_ray.data.ingest.feature_files import as_vectors
from ig3d_ray.data.representations import ALL_ZERO, Group, Representation, width_of
from ig3d_ray.data.representations import representation as declaration
from ig3d_ray.data.tables.columns import find_column, listed
from ig3d_ray.data.tables.containers import TEXT_SUFFIXES, suffix_of, unpacked
from ig3d_ray.data.tables.text_form import form_of
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.local_files import open_regular

ID_COLUMNS = (
    "sample_id",
    "number",
    "name",
    "file",
    "image",
    "id",
    "ids",
    "names",
    "input",
    "input_image_path",
    "filename",
    "path",
)
ROWS_AT_ONCE = 4096
Skips = list[tuple[str, str]]
Columns = dict[str, tuple[int, int]]


def read_table(
    file: Path, representation: Representation, columns: Columns | None
) -> tuple[list[str], np.ndarray, Skips]:
    """Names and parameters `[K, 334 | 358]` float32 of a merged file's rows, and (what, why) of excluded rows.

    Args:
        columns: of a CSV, group -> (first, one past the last) column; by names `<group>_<i>` without.

    Raises:
        Ig3dError: the file can't be read, or has no such columns.
    """
    readers = {".npz": _read_npz, ".parquet": _read_parquet}
    suffix = suffix_of(file)
    is_text = suffix in TEXT_SUFFIXES
    if not is_text and file.suffix.lower() not in readers:
        raise Ig3dError(
            f"{file}: parameters come as a folder, or a file ending in .csv, .tsv, .txt (also .gz), .npz or .parquet"
        )
    if columns and not is_text:
        raise Ig3dError(f"--columns: {file.name} names its groups itself; positions are for CSV files")
    names, vectors = (_read_csv if is_text else readers[suffix])(file, representation, columns or {})
    finite = np.isfinite(vectors).all(axis=1)
    skipped = [(names[row], "a number is missing, NaN or infinite") for row in np.flatnonzero(~finite)]
    usable = np.flatnonzero(finite)
    some = np.any(vectors, axis=1)[usable]
    skipped += [(names[row], ALL_ZERO) for row in usable[~some]]
    kept = usable[some]
    if len(kept) == len(names):
        return names, vectors, skipped
    return [names[row] for row in kept], vectors[kept], skipped


def _read_csv(file: Path, representation: Representation, columns: Columns) -> tuple[list[str], np.ndarray]:
    try:
        with open_regular(file) as raw, unpacked(raw) as content:
            return _from_text(file, content, representation, columns)
    except (OSError, EOFError, zlib.error) as error:
        raise _no_csv(file, error) from error


def _from_text(
    file: Path, content: BinaryIO, representation: Representation, columns: Columns
) -> tuple[list[str], np.ndarray]:
    """The ids and parameters of delimited text, expanded, some thousand rows at a time."""
    form = form_of(content, str(file))
    options: dict[str, Any] = {
        "sep": r"\s+" if form.delimiter == " " else form.delimiter,
        "decimal": form.decimal,
        "encoding": form.encoding,
        "skiprows": form.before,
    }
    try:
        raw = [str(name) for name in pd.read_csv(content, nrows=0, **options).columns]
        # OpenFace writes a blank after each comma.
        header = [name.strip() for name in raw]
        texts = dict.fromkeys([raw[0], *(n for n in raw if normalized(n) in map(normalized, ID_COLUMNS))], str)
    except Exception as error:  # of many types, as the file has it
        raise _no_csv(file, error) from error
    places: list[int] = []
    for name, group in declaration(representation).groups.items():
        places += _places(file, header, name, group, columns)
    found = find_column(dict.fromkeys(header, np.zeros(0)), ID_COLUMNS)
    ids, numbers = list[object](), list[np.ndarray]()
    try:
        # A number beyond float32 becomes infinity, and its row is then excluded with the reason.
        content.seek(0)
        with (
            pd.read_csv(content, dtype=texts, low_memory=False, chunksize=ROWS_AT_ONCE, **options) as frames,
            np.errstate(over="ignore"),
        ):
            for part in frames:
                frame = part.set_axis(header, axis=1)
                ids += frame[found or header[0]].tolist()
                some = frame.iloc[:, places].apply(pd.to_numeric, errors="coerce")
                numbers.append(some.to_numpy(np.float32))
    except Exception as error:  # of many types, as the file has it
        raise _no_csv(file, error) from error
    if found is None and (ids == [str(i) for i in range(len(ids))] or header[0] in flat_names(representation)):
        raise Ig3dError(f"{file}: no column of ids, such as sample_id or image (there are: {listed(header)})")
    vectors = np.concatenate(numbers) if numbers else np.empty((0, len(places)), np.float32)
    return [_stem(str(value)) for value in ids], vectors


def _no_csv(file: Path, error: Exception) -> Ig3dError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return Ig3dError(f"{file}: cannot be read as CSV ({reason[:150]})")


def flat_names(representation: Representation) -> set[str]:
    """The names of a representation's columns, one per number."""
    groups = declaration(representation).groups.items()
    return {one for name, group in groups for one in group.names or [f"{name}_{i}" for i in range(group.size)]}


def _places(file: Path, header: list[str], name: str, group: Group, columns: Columns) -> list[int]:
    """The positions of a group's columns: as given, by their own names, or numbered."""
    if columns:
        if name not in columns:
            raise Ig3dError(f"--columns: {name} is not there; missing parameters are never filled up")
        first, end = columns[name]
        if end - first != group.size or end > len(header):
            raise Ig3dError(
                f"--columns {name}={first}:{end}: {file.name} has {len(header)} columns, {name} needs {group.size}"
            )
        return list(range(first, end))
    wanted = group.names or [f"{name}_{i}" for i in range(group.size)]
    missing = next((one for one in wanted if one not in header), None)
    if missing is not None:
        way_out = "" if group.names else f"; name them <group>_<i>, or give --columns {name}=4:54 ..."
        raise Ig3dError(f"{file}: no column {missing!r}{way_out}")
    return [header.index(one) for one in wanted]


def _read_npz(file: Path, representation: Representation, columns: Columns) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # of many types, as the file has it
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise Ig3dError(f"{file}: cannot be read as NPZ ({reason})") from error
    return _from_arrays(file, representation, content)


def _read_parquet(file: Path, representation: Representation, columns: Columns) -> tuple[list[str], np.ndarray]:
    try:
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            return _of_parquet(file, parquet, representation)
    except Ig3dError:
        raise
    except Exception as error:  # of many types, as the file has it
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Ig3dError(f"{file}: cannot be read as Parquet ({reason[:150]})") from error


def _of_parquet(file: Path, parquet: pq.ParquetFile, representation: Representation) -> tuple[list[str], np.ndarray]:
    """Column by column: of a wide table, its rows some at a time would need all columns' pages at once."""
    about, there = declaration(representation), parquet.schema_arrow.names
    twice = next((name for name in there if there.count(name) > 1), None)
    if twice is not None:
        raise Ig3dError(f"{file}: duplicate column {twice[:40]!r}")

    def column(name: str) -> pa.ChunkedArray:
        return parquet.read([name], use_threads=False).column(name)

    content = {}
    for name in there:
        if name in ID_COLUMNS:
            content[name] = np.array([str(value) for value in column(name).to_pylist()])
        elif name == representation or name in about.groups:
            content[name] = _lists(file, name, column(name).combine_chunks())
    for name, group in about.groups.items():
        # A column per number.
        flat = list(group.names) or [f"{name}_{i}" for i in range(group.size)]
        if name not in content and set(flat) <= set(there):
            content[name] = np.empty((parquet.metadata.num_rows, len(flat)), np.float32)
            for place, one in enumerate(flat):
                content[name][:, place] = _numbers(file, one, column(one))
    return _from_arrays(file, representation, content)


def _numbers(file: Path, name: str, column: pa.ChunkedArray) -> np.ndarray:
    try:
        return np.asarray(column.cast(pa.float32()).fill_null(float("nan")).to_numpy())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).splitlines()[0][:80]
        raise Ig3dError(f"{file}: columns {name!r}, ... are no numbers ({reason})") from error


def _lists(file: Path, name: str, column: pa.Array) -> np.ndarray:
    """A column of lists of one length as `[K, size]` float32; a null row is NaN."""
    try:
        lengths = pc.list_value_length(column).drop_null().unique().to_pylist()
        if len(lengths) != 1:
            raise Ig3dError(f"{file}: {name} has rows of {' and '.join(map(str, lengths[:3])) or 'no'} numbers")
        values = np.full((len(column), lengths[0]), np.nan, np.float32)
        there = column.is_valid().to_numpy(zero_copy_only=False)
        flat = pc.list_flatten(column.drop_null()).cast(pa.float32())
        values[there] = flat.fill_null(float("nan")).to_numpy(zero_copy_only=False).reshape(-1, lengths[0])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise Ig3dError(f"{file}: {name} holds no lists of numbers ({str(error).splitlines()[0]})") from error
    return values


def _from_arrays(
    file: Path, representation: Representation, content: dict[str, np.ndarray]
) -> tuple[list[str], np.ndarray]:
    ids = next((content[name] for name in ID_COLUMNS if name in content), None)
    if ids is None:
        raise Ig3dError(f"{file}: holds no sample_id; found: {listed(content)}")
    if representation in content:
        vectors = content[representation]
    else:
        missing = [name for name in declaration(representation).groups if name not in content]
        if missing:
            raise Ig3dError(f"{file}: holds neither {representation} nor {missing[0]}; found: {listed(content)}")
        content |= {name: _flat(content[name]) for name in declaration(representation).groups}
        for name, size in declaration(representation).sizes:
            if content[name].shape != (len(ids), size):
                raise Ig3dError(f"{file}: {name} is {content[name].shape}, not {(len(ids), size)}")
        vectors = np.concatenate([content[name] for name in declaration(representation).groups], axis=1)
    if vectors.dtype.kind not in "fiu" or vectors.ndim < 1 or ids.ndim != 1:
        raise Ig3dError(f"{file}: {representation} or its ids are no plain arrays of numbers and of names")
    vectors = as_vectors(vectors, declaration(representation)) if len(vectors) else vectors
    if vectors.shape != (len(ids), width_of(representation)):
        raise Ig3dError(f"{file}: {representation} is {vectors.shape}, not {(len(ids), width_of(representation))}")
    # A number beyond float32 becomes infinity, and its row is then excluded with the reason.
    with np.errstate(over="ignore"):
        return [_stem(str(name)) for name in ids], vectors.astype(np.float32)


def _flat(values: np.ndarray) -> np.ndarray:
    """`[N, 1, n]` as `[N, n]`: batches of one face."""
    return values.reshape(len(values), -1) if values.ndim > 2 and 1 in values.shape[1:] else values


def _stem(name: str) -> str:
    """A name without the suffix of an image."""
    return SUFFIX.sub("", name)
