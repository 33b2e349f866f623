"""3D parameters from one merged file: CSV by column names or positions, NPZ, Parquet."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ig3d_ray.data.representations import ALL_ZERO, GROUPS, WIDTHS, Representation
from ig3d_ray.errors import Ig3dError

ID_COLUMNS = ("sample_id", "number", "name", "file", "image")
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
    readers = {".csv": _read_csv, ".npz": _read_npz, ".parquet": _read_parquet}
    if file.suffix.lower() not in readers:
        raise Ig3dError(f"{file}: parameters come as a folder, or a file ending in {', '.join(readers)}")
    if columns and file.suffix.lower() != ".csv":
        raise Ig3dError(f"--columns: {file.name} names its groups itself; positions are for CSV files")
    names, vectors = readers[file.suffix.lower()](file, representation, columns or {})
    finite = np.isfinite(vectors).all(axis=1)
    skipped = [(names[row], "a number is missing, NaN or infinite") for row in np.flatnonzero(~finite)]
    usable = np.flatnonzero(finite)
    some = vectors[usable].any(axis=1)
    skipped += [(names[row], ALL_ZERO) for row in usable[~some]]
    kept = usable[some]
    return [names[row] for row in kept], vectors[kept], skipped


def _read_csv(file: Path, representation: Representation, columns: Columns) -> tuple[list[str], np.ndarray]:
    try:
        header = [str(name) for name in pd.read_csv(file, nrows=0).columns]
        texts = dict.fromkeys([header[0], *(name for name in ID_COLUMNS if name in header)], str)
        frame = pd.read_csv(file, dtype=texts, low_memory=False)
    except (OSError, ValueError) as error:
        raise Ig3dError(f"{file}: cannot be read as CSV ({str(error).splitlines()[0]})") from error
    places: list[int] = []
    for group, size in GROUPS[representation]:
        places += _places(file, header, group, size, columns)
    numbers = frame.iloc[:, places].apply(pd.to_numeric, errors="coerce")
    id_column = next((name for name in ID_COLUMNS if name in header), header[0])
    return [_stem(str(value)) for value in frame[id_column]], numbers.to_numpy(np.float32)


def _places(file: Path, header: list[str], group: str, size: int, columns: Columns) -> list[int]:
    if columns:
        if group not in columns:
            raise Ig3dError(f"--columns: {group} is not there; missing parameters are never filled up")
        first, end = columns[group]
        if end - first != size or end > len(header):
            raise Ig3dError(
                f"--columns {group}={first}:{end}: {file.name} has {len(header)} columns, {group} needs {size}"
            )
        return list(range(first, end))
    names = [f"{group}_{i}" for i in range(size)]
    if any(name not in header for name in names):
        first_missing = next(name for name in names if name not in header)
        raise Ig3dError(
            f"{file}: no column {first_missing!r}; name them <group>_<i>, or give --columns {group}=4:54 ..."
        )
    return [header.index(name) for name in names]


def _read_npz(file: Path, representation: Representation, columns: Columns) -> tuple[list[str], np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise Ig3dError(f"{file}: cannot be read as NPZ ({str(error).splitlines()[0]})") from error
    return _from_arrays(file, representation, content)


def _read_parquet(file: Path, representation: Representation, columns: Columns) -> tuple[list[str], np.ndarray]:
    try:
        table = pq.ParquetFile(file).read(use_threads=False)
    except (OSError, pa.ArrowInvalid) as error:
        raise Ig3dError(f"{file}: cannot be read as Parquet ({str(error).splitlines()[0]})") from error
    wanted = {representation, *(name for name, _ in GROUPS[representation])}
    content = {}
    for name in table.column_names:
        if name in ID_COLUMNS:
            content[name] = np.array([str(value) for value in table[name].to_pylist()])
        elif name in wanted:
            content[name] = _lists(file, name, table[name].combine_chunks())
    return _from_arrays(file, representation, content)


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
        raise Ig3dError(f"{file}: holds no sample_id; found: {', '.join(content)}")
    if representation in content:
        vectors = content[representation]
    else:
        missing = [name for name, _ in GROUPS[representation] if name not in content]
        if missing:
            raise Ig3dError(f"{file}: holds neither {representation} nor {missing[0]}; found: {', '.join(content)}")
        for name, size in GROUPS[representation]:
            if content[name].shape != (len(ids), size):
                raise Ig3dError(f"{file}: {name} is {content[name].shape}, not {(len(ids), size)}")
        vectors = np.concatenate([content[name] for name, _ in GROUPS[representation]], axis=1)
    if vectors.shape != (len(ids), WIDTHS[representation]):
        raise Ig3dError(f"{file}: {representation} is {vectors.shape}, not {(len(ids), WIDTHS[representation])}")
    return [_stem(str(name)) for name in ids], vectors.astype(np.float32)


def _stem(name: str) -> str:
    """A name without the suffix of an image."""
    base, dot, suffix = name.rpartition(".")
    return base if dot and suffix.lower() in ("jpg", "jpeg", "png", "bmp", "gif", "json") else name
