"""Files of predictions as people have them: ids, class scores, valence and arousal, and the labels beside them."""

from pathlib import Path

import numpy as np

from ig3d_ray.data.datasets import Dataset
from ig3d_ray.data.tables.columns import listed
from ig3d_ray.data.tables.containers import read_columns
from ig3d_ray.data.tables.numbers import numbers
from ig3d_ray.data.tables.packed import Columns, Packed, without
from ig3d_ray.errors import Ig3dError
from ig3d_ray.importing.class_scores import class_logits
from ig3d_ray.importing.columns import find_va
from ig3d_ray.importing.faces import face_sizes, one_per_sample
from ig3d_ray.importing.long_tables import widened
from ig3d_ray.importing.reading import AS_FOUND, Predictions, Reading
from ig3d_ray.importing.row_ids import sample_ids
from ig3d_ray.importing.scores import table_of_numbers
from ig3d_ray.importing.tools import ToolFormat, recognize, tool_format, tool_scores, tool_va
from ig3d_ray.importing.truth import range_text, true_classes, true_va

FARTHEST = 2.0
"""How far predictions of valence and arousal may be from 0."""


def read_predictions(file: Path, about: Dataset, reading: Reading = AS_FOUND) -> Predictions:
    """Read a file and keep one row with predictions per sample.

    Args:
        file: see `containers.READERS` for the formats.
        about: whose classes and labels.
        reading: what can't be found out.

    Raises:
        Ig3dError: the file can't be understood; the message says what is wrong and which option helps.
    """
    return one_per_sample(read_rows(file, about, reading), file, reading.faces)


def read_rows(file: Path, about: Dataset, reading: Reading = AS_FOUND) -> Predictions:
    """Read a file as it is: every row, those without predictions and duplicates included.

    Raises:
        Ig3dError: as `read_predictions`.
    """
    return rows_of(read_columns(file), str(file), about, reading)


def rows_of(columns: Columns, what: str, about: Dataset, reading: Reading = AS_FOUND) -> Predictions:
    """The predictions in columns, as `read_rows`.

    Args:
        columns: name -> `[N]`.
        what: begins messages.
        about: whose classes and labels.
        reading: what can't be found out.
    """
    notes: list[str] = []
    tool = tool_format(reading.format) if reading.format else recognize(columns)
    if tool is not None:
        notes.append(f"read as {tool.name}: {tool.about}")
        if tool.predicted_label is not None:
            columns = without(columns, [tool.predicted_label])
        if tool.found_where in columns:
            columns = _without_faces(columns, tool, notes)
    else:
        columns = widened(columns, what, about, reading, notes)
    ids, numbered = sample_ids(what, columns, reading, tool)
    logits, absent = class_logits(what, columns, about, reading, tool, notes)
    va_columns, va_true_columns = find_va(what, columns)
    va_columns = _asked_va(what, columns, reading) or _tool_va(columns, about, tool) or va_columns
    va = None
    if about.va is None and logits is not None:
        va_columns = None
    if va_columns is not None:
        va = table_of_numbers(what, list(va_columns), columns)
        if about.va is not None:
            # A tool that found no face may write what its labels have for "not annotated".
            va[np.isin(va, about.va.missing_values).all(axis=1)] = np.nan
        if about.va is not None and about.va.is_rescaled:
            va = about.va.rescaled(va)
            notes.append(f"valence and arousal were rescaled from {range_text(about)} to [-1, 1]")
        _check_range(what, va_columns, va, about)
    if logits is None and va is None:
        raise Ig3dError(
            f"{what}: no predictions: columns logit_0.., prob_0.., named as the classes, cat_pred or val_pred and"
            f" aro_pred are missing (there are: {listed(columns)}); give --columns CLASS=COLUMN,..."
        )
    expression = true_classes(what, columns, about, reading, tool, notes, logits)
    va_true = true_va(what, columns, about, va_true_columns, notes)
    return Predictions(
        ids=ids,
        numbered=numbered,
        logits=None if logits is None else logits.astype(np.float32),
        va=None if va is None else va.astype(np.float32),
        expression=expression,
        va_true=va_true,
        sizes=face_sizes(what, columns, tool),
        notes=tuple(notes),
        absent=absent,
    )


def _without_faces(columns: Columns, tool: ToolFormat, notes: list[str]) -> Columns:
    """Columns whose scores are missing where the tool found no face, and analyzed the whole image instead."""
    confidence = numbers("", str(tool.found_where), columns[str(tool.found_where)])
    lost = confidence == 0
    if not lost.any():
        return columns
    notes.append(f"{int(lost.sum())} rows have {tool.found_where} 0: no face was found")
    blank = {score.column: _blank(columns[score.column], lost) for score in tool_scores(tool, columns)}
    return columns.replaced(blank) if isinstance(columns, Packed) else {**columns, **blank}


def _blank(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where, "", values) if values.dtype.kind == "U" else np.where(where, np.nan, values.astype(float))


def _check_range(what: str, names: tuple[str, str], va: np.ndarray, about: Dataset) -> None:
    """Predictions may leave [-1, 1] a little; those of another range leave it by far.

    Raises:
        Ig3dError: they do.
    """
    for name, values in zip(names, va.T, strict=True):
        far = np.abs(np.nan_to_num(values)).max()
        if far > FARTHEST:
            raise Ig3dError(
                f"{what}: column {name}: predictions up to {far:.4g}, on the scale of [-1, 1] from {range_text(about)};"
                " a data set with another range declares it: va: {range: [LOW, HIGH]}, see `ig3d data create`"
            )


def _asked_va(what: str, columns: Columns, reading: Reading) -> tuple[str, str] | None:
    given = {word.lower(): column for word, column in reading.columns.items() if word.lower() in ("valence", "arousal")}
    if not given:
        return None
    if len(given) < 2:
        raise Ig3dError(f"{what}: --columns: valence and arousal come together; give both")
    return given["valence"], given["arousal"]


def _tool_va(columns: Columns, about: Dataset, tool: ToolFormat | None) -> tuple[str, str] | None:
    return None if tool is None or not about.has_va else tool_va(tool, tool_scores(tool, columns), columns)
