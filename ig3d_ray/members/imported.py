"""Bring your own: predictions of anyone's model, from CSV, Parquet or NPZ, into the logit cache.

Columns: `sample_id`; `logit_0..` or `prob_0..` for classes, `val_pred` and `aro_pred` for valence and
arousal; and, where the data set has no samples table, the truth as `label`
(or `cat_true`), `val_true`, `aro_true`.
CAGE's inference format is the same with a predicted class, `cat_pred`, in place of scores.
"""

import contextlib
import csv
import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ig3d_ray.data import catalog
from ig3d_ray.data.catalog import Split
from ig3d_ray.data.labels import Labels, find_labels, merge_labels, save_labels
from ig3d_ray.data.samples import samples_name
from ig3d_ray.errors import Ig3dError
from ig3d_ray.logits import LogitStore, LogitTable
from ig3d_ray.members.spec import ImportedSpec, fingerprint, spec_json
from ig3d_ray.metrics import score
from ig3d_ray.storage import Store
from ig3d_ray.tables import table_from_bytes

SMALLEST_PROBABILITY = 1e-12
PROBABILITY_SLACK = 1e-3
ROW_ID = "row-{:07d}"


@dataclass(frozen=True)
class Imported:
    """What an import did.

    Attributes:
        table: as it was published. found: `logits`, `va`. numbered: whether ids are row numbers.
        scores: `accuracy` and `ccc`, as far as there are labels: whoever mixed up classes or rows sees it here.
    """

    table: LogitTable
    found: tuple[str, ...]
    numbered: bool
    scores: dict[str, float]


def import_predictions(
    store: Store,
    file: Path,
    dataset: str,
    spec: ImportedSpec,
    split: Split,
    row_order_is_id: bool = False,
    replace: bool = False,
) -> Imported:
    """Read a file of predictions and publish it as a member's logit table.

    Args:
        file: ending in .csv, .parquet or .npz.
        spec: the member's name and view.
        row_order_is_id: number the rows instead of asking for `sample_id`; then every file imported for
            this split must agree with the others in its labels, row by row.
        replace: accept other predictions than those already imported under this name.

    Raises:
        Ig3dError: the file can't be understood or contradicts what is known; nothing is written then.
    """
    columns = read_columns(file)
    ids, numbered = _ids(file, columns, row_order_is_id)
    logits, va = _predictions(file, columns, dataset)
    if logits is None and not catalog.dataset(dataset).has_va:
        raise Ig3dError(
            f"{file}: valence and arousal alone, but {dataset} is searched for expressions; bring logit_0.."
        )
    table = LogitTable(
        dataset=dataset,
        split=split,
        member=fingerprint(dataset, "", spec),
        name=spec.name,
        view=spec.view,
        member_spec=spec_json(spec),
        dataset_fingerprint="",
        ids=ids,
        logits=logits,
        va=va,
    )
    labels = _agreed_labels(store, file, columns, table, numbered)
    cache = LogitStore(store)
    for card in cache.members(dataset):
        if card.name == spec.name and card.fingerprint != table.member:
            raise Ig3dError(f"{file}: there is a member {spec.name} of view {card.view} already; give another --member")
    known = cache.has(dataset, table.member, split) and not replace
    if known and cache.read(dataset, table.member, split).digest != table.digest:
        raise Ig3dError(f"{file}: {spec.name} already has other {split} predictions; give another name or --replace")
    if labels is not None:
        save_labels(store, labels)
    cache.write(table)
    found = tuple(kind for kind, values in (("logits", logits), ("va", va)) if values is not None)
    return Imported(table, found, numbered, _scores(find_labels(store, dataset, split), table))


def _scores(labels: Labels | None, table: LogitTable) -> dict[str, float]:
    scores = {}
    for task, metric, outputs in (("expression", "accuracy", table.logits), ("va", "ccc", table.va)):
        with contextlib.suppress(Ig3dError):
            if outputs is not None and labels is not None:
                truth = labels.of(table.ids, task)  # type: ignore[arg-type]
                scores[metric] = score(task, outputs, truth)[metric]  # type: ignore[arg-type]
    return scores


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
        raise Ig3dError(f"{file}: column {twice!r} stands twice")
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
            raise Ig3dError(f"{file}: row {row + 1}, column {field.name}: no value; leave such rows away")
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


def _ids(file: Path, columns: dict[str, np.ndarray], row_order_is_id: bool) -> tuple[np.ndarray, bool]:
    rows = len(next(iter(columns.values())))
    if "sample_id" in columns:
        if row_order_is_id:
            raise Ig3dError(f"{file}: has a column sample_id; leave --row-order-is-id away")
        told = columns["sample_id"].tolist()
        ids = np.asarray([v.decode() if isinstance(v, bytes) else str(v) for v in told], dtype=np.str_)
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


def _numbers(file: Path, columns: dict[str, np.ndarray], name: str) -> np.ndarray:
    """A column as `[N]` float64, finite."""
    values = columns[name]
    told = values.tolist()
    for row, value in enumerate(told, start=1):
        try:
            # Python reads 1_0 as ten.
            if isinstance(value, bool) or "_" in str(value):
                raise ValueError
            told[row - 1] = float(value)
        except (ValueError, TypeError) as error:
            raise Ig3dError(f"{file}: row {row}, column {name}: {value!r} is not a number") from error
    numbers = np.asarray(told, dtype=np.float64)
    too_large = np.isfinite(numbers) & (np.abs(numbers) > np.finfo(np.float32).max)
    if too_large.any():
        row = int(too_large.argmax())
        raise Ig3dError(f"{file}: row {row + 1}, column {name}: {numbers[row]:g} is too large for a float32")
    broken = ~np.isfinite(numbers)
    if broken.any():
        row = int(broken.argmax())
        kind = "NaN" if np.isnan(numbers[row]) else "infinity"
        raise Ig3dError(f"{file}: row {row + 1}, column {name}: {kind} ({int(broken.sum())} such rows)")
    return numbers


def _numbered_columns(file: Path, columns: dict[str, np.ndarray], stem: str, classes: int, dataset: str) -> list[str]:
    found = [name for name in columns if re.fullmatch(rf"{stem}_\d+", name)]
    wanted = [f"{stem}_{i}" for i in range(classes)]
    if found and set(found) != set(wanted):
        missing = [name for name in wanted if name not in found]
        what = f"column {missing[0]!r} is missing" if missing and len(found) >= classes else f"{len(found)} classes"
        names = ", ".join(catalog.dataset(dataset).class_names)
        raise Ig3dError(f"{file}: {what}, but {dataset} has {classes} in this order: {names}")
    return wanted if found else []


def _predictions(
    file: Path, columns: dict[str, np.ndarray], dataset: str
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Logits `[N, C]` and valence-arousal `[N, 2]`, each if the file has them."""
    classes = len(catalog.dataset(dataset).class_names)
    logit_names = _numbered_columns(file, columns, "logit", classes, dataset)
    prob_names = _numbered_columns(file, columns, "prob", classes, dataset)
    if logit_names and prob_names:
        raise Ig3dError(f"{file}: both logit_ and prob_ columns; keep the logits and leave the others away")
    logits = None
    if logit_names:
        logits = np.stack([_numbers(file, columns, name) for name in logit_names], axis=1)
    elif prob_names:
        logits = _log_probabilities(file, np.stack([_numbers(file, columns, name) for name in prob_names], axis=1))
    elif "cat_pred" in columns:
        # A bare class has no confidence: it enters as one vote.
        logits = np.eye(classes)[_classes(file, columns, "cat_pred", dataset)]
    va = None
    if ("val_pred" in columns) != ("aro_pred" in columns):
        missing = "aro_pred" if "val_pred" in columns else "val_pred"
        raise Ig3dError(f"{file}: column {missing!r} is missing; valence and arousal come together")
    if "val_pred" in columns:
        va = np.stack([_numbers(file, columns, name) for name in ("val_pred", "aro_pred")], axis=1)
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
        told = "holds a number outside [0, 1]" if outside[row] else f"sums to {sums[row]:.4g}, not 1"
        raise Ig3dError(
            f"{file}: row {row + 1}: prob_ {told} ({int(wrong.sum())} such rows); raw scores are called logit_"
        )
    return np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))


def _classes(file: Path, columns: dict[str, np.ndarray], name: str, dataset: str) -> np.ndarray:
    """A column of class numbers or names as `[N]` int64."""
    names = catalog.dataset(dataset).class_names
    known = {known_name.lower(): index for index, known_name in enumerate(names)}
    known |= {str(index): index for index in range(len(names))}
    classes = np.empty(len(columns[name]), dtype=np.int64)
    for row, value in enumerate(columns[name].tolist()):
        # pandas writes whole numbers as 3.0 when a column had gaps.
        told = str(value).strip().lower().removesuffix(".0")
        if told not in known:
            raise Ig3dError(
                f"{file}: row {row + 1}, column {name}: {value!r} is no class of {dataset};"
                f" allowed: 0 to {len(names) - 1} ({', '.join(names)})"
            )
        classes[row] = known[told]
    return classes


def _brought_labels(file: Path, columns: dict[str, np.ndarray], table: LogitTable) -> Labels | None:
    rows = len(table.ids)
    expression, va = np.full(rows, -1, np.int64), np.full((rows, 2), np.nan, np.float32)
    for name in ("label", "cat_true"):
        if name in columns:
            expression = _classes(file, columns, name, table.dataset)
    for index, name in enumerate(("val_true", "aro_true")):
        if name in columns:
            va[:, index] = _numbers(file, columns, name)
    if (expression < 0).all() and np.isnan(va).all():
        return None
    return Labels(table.dataset, table.split, table.ids, expression, va)


def _agreed_labels(
    store: Store, file: Path, columns: dict[str, np.ndarray], table: LogitTable, numbered: bool
) -> Labels | None:
    """The labels to publish, or None where the data set's own samples table has them."""
    known, brought = find_labels(store, table.dataset, table.split), _brought_labels(file, columns, table)
    if store.exists(samples_name(table.dataset)):
        assert known is not None
        lacking = ~np.isin(table.ids, known.ids)
        if lacking.any():
            first, count = table.ids[int(lacking.argmax())], int(lacking.sum())
            where = f"{table.dataset}'s {table.split} split"
            raise Ig3dError(f"{file}: sample_id {str(first)!r} is not in {where} ({count} of {len(lacking)} rows)")
        if brought is not None:
            merge_labels(known, brought, str(file))
        return None
    if brought is None and known is None:
        raise Ig3dError(
            f"{file}: no labels: add a column label, or val_true and aro_true; or make a samples table first"
        )
    if known is None:
        return brought
    if numbered and len(known.ids) != len(table.ids):
        raise Ig3dError(
            f"{file}: {len(table.ids)} rows, but the files imported before have {len(known.ids)}; rows can't be"
            " matched by order: add sample_id"
        )
    if brought is None:
        if numbered:
            raise Ig3dError(f"{file}: no labels to check the order of rows by; add label, or val_true and aro_true")
        lacking = ~np.isin(table.ids, known.ids)
        if lacking.any():
            first = table.ids[int(lacking.argmax())]
            raise Ig3dError(f"{file}: sample_id {str(first)!r} has no label ({int(lacking.sum())} such rows)")
        return known
    if numbered != all(re.fullmatch(r"row-\d{7}", known_id) for known_id in known.ids.tolist()):
        raise Ig3dError(
            f"{file}: row numbers beside ids: the files imported before {'have' if numbered else 'lack'} sample_id"
        )
    if not np.isin(table.ids, known.ids).any():
        raise Ig3dError(
            f"{file}: none of its {len(table.ids)} samples is among those of the files imported before, such as"
            f" {str(known.ids[0])!r}; nothing could be compared: check sample_id, --dataset and --split"
        )
    if numbered and not _comparable(known, brought):
        raise Ig3dError(
            f"{file}: its labels are of another kind than those of the files imported before, so the order of rows"
            " can't be checked; add the same labels or a column sample_id"
        )
    return merge_labels(known, brought, str(file))


def _comparable(known: Labels, brought: Labels) -> bool:
    """Whether two numbered files have a kind of label in common, on every row."""
    classes = bool(((known.expression >= 0) & (brought.expression >= 0)).all())
    return classes or not bool(np.isnan(known.va).any() or np.isnan(brought.va).any())
