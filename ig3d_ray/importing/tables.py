"""Files of predictions: CSV, Parquet or NPZ to columns, columns to ids, class scores, valence and arousal.

Columns: `sample_id`; `logit_0..` or `prob_0..` for classes, `val_pred` and `aro_pred` for valence and
arousal; and the truth as `label` (or `cat_true`), `val_true`, `aro_true`. CAGE's inference format is the
same with a predicted class, `cat_pred`, in place of scores.
"""

import csv
import io
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from ig3d_ray.data import datasets
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.parquet import table_from_bytes

SMALLEST_PROBABILITY = 1e-12
PROBABILITY_SLACK = 1e-3
ROW_ID = "row-{:07d}"
ROW_PATTERN = re.compile(r"row-\d{7}")


def read_columns(file: Path) -> dict[str, np.ndarray]:
    """The columns of a file: name -> `[N]` of str (CSV) or of the file's own type; 2-D arrays are split.

    Raises:
        Ig3dError: no such file, unknown ending, no rows, rows of different width, not of its format.
    """
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".npz": _read_npz}
    if file.suffix.lower() not in readers:
        raise Ig3dError(f"{file}: ending {file.suffix!r}; known: {', '.join(readers)}")
    if not file.is_file():
        raise Ig3dError(f"{file}: no such file")
    columns = readers[file.suffix.lower()](file)
    if not columns or not len(next(iter(columns.values()))):
        raise Ig3dError(f"{file}: no rows")
    return columns


def _read_csv(file: Path) -> dict[str, np.ndarray]:
    try:
        rows = list(csv.reader(io.StringIO(file.read_text(encoding="utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Ig3dError(f"{file}: not CSV text ({error})") from error
    rows = [row for row in rows if row]
    if not rows:
        raise Ig3dError(f"{file}: no rows")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise Ig3dError(f"{file}: duplicate column {twice!r}")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise Ig3dError(f"{file}: line {number} has {len(row)} fields, the header has {len(header)}")
    return {name: np.array([row[i].strip() for row in rows[1:]], dtype=np.str_) for i, name in enumerate(header)}


def _read_parquet(file: Path) -> dict[str, np.ndarray]:
    try:
        table = table_from_bytes(file.read_bytes())
    except (pa.ArrowInvalid, OSError) as error:
        raise Ig3dError(f"{file}: not a whole Parquet file ({str(error).splitlines()[0]})") from error
    for field in table.schema:
        if pa.types.is_nested(field.type):
            raise Ig3dError(f"{file}: column {field.name!r} is {field.type}; give one number per column and row")
        if table[field.name].null_count:
            row = table[field.name].is_null().to_pylist().index(True)
            raise Ig3dError(f"{file}: row {row + 1}, column {field.name}: no value; remove such rows")
    return {name: np.asarray(table[name].to_pylist()) for name in table.column_names}


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, TypeError, zlib.error, zipfile.BadZipFile) as error:
        raise Ig3dError(f"{file}: not an NPZ file of plain arrays; write it with numpy.savez") from error
    columns: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        if values.ndim == 2 and name in ("logits", "probs"):
            columns |= {f"{name[:-1]}_{i}": values[:, i] for i in range(values.shape[1])}
        elif values.ndim == 1:
            columns[name] = values
        else:
            raise Ig3dError(f"{file}: array {name!r} is {values.ndim}-D; known 2-D arrays: logits, probs")
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{name}: {len(values)}" for name, values in columns.items())
        raise Ig3dError(f"{file}: arrays of different length ({lengths})")
    return columns


def sample_ids(file: Path, columns: dict[str, np.ndarray], row_order_is_id: bool) -> tuple[np.ndarray, bool]:
    """The ids of a file's rows, `[N]` str, and whether they are row numbers.

    Args:
        file: for messages.
        columns: of the file.
        row_order_is_id: number the rows.

    Raises:
        Ig3dError: there are no ids and rows may not be numbered, or both.
    """
    rows = len(next(iter(columns.values())))
    if "sample_id" in columns:
        if row_order_is_id:
            raise Ig3dError(f"{file}: has a column sample_id; remove --row-order-is-id")
        message = columns["sample_id"].tolist()
        ids = np.asarray([v.decode() if isinstance(v, bytes) else str(v) for v in message], dtype=np.str_)
        empty = ids == ""
        if empty.any():
            raise Ig3dError(f"{file}: row {int(empty.argmax()) + 1} has an empty sample_id")
        return ids, False
    if not row_order_is_id:
        raise Ig3dError(
            f"{file}: column 'sample_id' is missing (there are: {', '.join(columns)}); add it, or give"
            " --row-order-is-id if row i is the same sample in every file you import"
        )
    return np.array([ROW_ID.format(row) for row in range(rows)], dtype=np.str_), True


def numbers(file: Path, columns: dict[str, np.ndarray], name: str) -> np.ndarray:
    """A column as `[N]` float64, finite."""
    values = columns[name]
    message = values.tolist()
    for row, value in enumerate(message, start=1):
        try:
            # Python reads 1_0 as ten.
            if isinstance(value, bool) or "_" in str(value):
                raise ValueError
            message[row - 1] = float(value)
        except (ValueError, TypeError) as error:
            raise Ig3dError(f"{file}: row {row}, column {name}: {value!r} is not a number") from error
    found = np.asarray(message, dtype=np.float64)
    too_large = np.isfinite(found) & (np.abs(found) > np.finfo(np.float32).max)
    if too_large.any():
        row = int(too_large.argmax())
        raise Ig3dError(f"{file}: row {row + 1}, column {name}: {found[row]:g} is too large for a float32")
    broken = ~np.isfinite(found)
    if broken.any():
        row = int(broken.argmax())
        kind = "NaN" if np.isnan(found[row]) else "infinity"
        raise Ig3dError(f"{file}: row {row + 1}, column {name}: {kind} ({int(broken.sum())} such rows)")
    return found


def _numbered_columns(file: Path, columns: dict[str, np.ndarray], stem: str, classes: int, dataset: str) -> list[str]:
    found = [name for name in columns if re.fullmatch(rf"{stem}_\d+", name)]
    wanted = [f"{stem}_{i}" for i in range(classes)]
    if found and set(found) != set(wanted):
        missing = [name for name in wanted if name not in found]
        what = f"column {missing[0]!r} is missing" if missing and len(found) >= classes else f"{len(found)} classes"
        names = ", ".join(datasets.dataset(dataset).class_names)
        raise Ig3dError(f"{file}: {what}, but {dataset} has {classes} in this order: {names}")
    return wanted if found else []


def predictions(
    file: Path, columns: dict[str, np.ndarray], dataset: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Logits `[N, C]` and valence-arousal `[N, 2]`, each if the file has them."""
    classes = len(datasets.dataset(dataset).class_names)
    logit_names = _numbered_columns(file, columns, "logit", classes, dataset)
    prob_names = _numbered_columns(file, columns, "prob", classes, dataset)
    if logit_names and prob_names:
        raise Ig3dError(f"{file}: both logit_ and prob_ columns; keep the logits and remove the others")
    logits = None
    if logit_names:
        logits = np.stack([numbers(file, columns, name) for name in logit_names], axis=1)
    elif prob_names:
        logits = _log_probabilities(file, np.stack([numbers(file, columns, name) for name in prob_names], axis=1))
    elif "cat_pred" in columns:
        # A class without scores has no confidence: it counts as one vote.
        logits = np.eye(classes)[classes_of(file, columns, "cat_pred", dataset)]
    va = None
    if ("val_pred" in columns) != ("aro_pred" in columns):
        missing = "aro_pred" if "val_pred" in columns else "val_pred"
        raise Ig3dError(f"{file}: column {missing!r} is missing; valence and arousal come together")
    if "val_pred" in columns:
        va = np.stack([numbers(file, columns, name) for name in ("val_pred", "aro_pred")], axis=1)
    if logits is None and va is None:
        there = ", ".join(columns)
        raise Ig3dError(
            f"{file}: no predictions: columns logit_0.., prob_0.., cat_pred or val_pred and aro_pred are missing"
            f" (there are: {there})"
        )
    return (
        None if logits is None else logits.astype(np.float32),
        None if va is None else va.astype(np.float32),
    )


def _log_probabilities(file: Path, probabilities: np.ndarray) -> np.ndarray:
    outside = np.any((probabilities < 0) | (probabilities > 1 + PROBABILITY_SLACK), axis=1)
    sums = probabilities.sum(axis=1)
    wrong = outside | (np.abs(sums - 1) > PROBABILITY_SLACK)
    if wrong.any():
        row = int(wrong.argmax())
        message = "holds a number outside [0, 1]" if outside[row] else f"sums to {sums[row]:.4g}, not 1"
        raise Ig3dError(
            f"{file}: row {row + 1}: prob_ {message} ({int(wrong.sum())} such rows); raw scores are called logit_"
        )
    return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))


def classes_of(file: Path, columns: dict[str, np.ndarray], name: str, dataset: str) -> np.ndarray:
    """A column of class numbers or names as `[N]` int64."""
    names = datasets.dataset(dataset).class_names
    known = {known_name.lower(): index for index, known_name in enumerate(names)}
    known |= {str(index): index for index in range(len(names))}
    classes = np.empty(len(columns[name]), dtype=np.int64)
    for row, value in enumerate(columns[name].tolist()):
        # pandas writes integers as 3.0 if a column had missing values.
        message = str(value).strip().lower().removesuffix(".0")
        if message not in known:
            raise Ig3dError(
                f"{file}: row {row + 1}, column {name}: {value!r} is no class of {dataset};"
                f" allowed: 0 to {len(names) - 1} ({', '.join(names)})"
            )
        classes[row] = known[message]
    return classes
