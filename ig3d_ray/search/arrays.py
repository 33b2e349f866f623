"""Pools of plain arrays, for notebooks: no storage, no ids, no data set."""

from collections.abc import Mapping, Sequence

import numpy as np

from ig3d_ray.data import datasets
from ig3d_ray.data.datasets.declaration import parse_classes
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.types import Task

Arrays = Mapping[str, np.ndarray] | Sequence[np.ndarray] | np.ndarray


def pool_of_arrays(outputs: Arrays, labels: np.ndarray | None = None) -> Pool:
    """A pool of members' class scores, in the order of rows that the arrays have.

    Args:
        outputs: name -> `[N, C]` logits, a list of such arrays, or one of `[M, N, C]`; without names, members are
            called m0, m1 ...
        labels: `[N]` classes from 0 to C - 1; None where nothing is to be fitted or scored.

    Raises:
        Ig3dError: the shapes differ, a number is not finite, or a label is no class.
    """
    named = outputs if isinstance(outputs, Mapping) else {f"m{i}": one for i, one in enumerate(outputs)}
    if not named:
        raise Ig3dError("no members; give a mapping of names to [N, C] arrays of class scores")
    arrays = {str(name): np.asarray(values, dtype=np.float32) for name, values in named.items()}
    first, shape = next((name, values.shape) for name, values in arrays.items())
    for name, values in arrays.items():
        if values.ndim != 2 or values.shape != shape or shape[1] < 2 or not len(values):
            other = f", and {first} is {shape}" if name != first else ""
            raise Ig3dError(f"{name}: an array {values.shape}{other}; give [N, C] class scores of each member")
        if not np.isfinite(values).all():
            raise Ig3dError(f"{name}: row {int((~np.isfinite(values)).any(axis=1).argmax())} is not finite")
    rows, classes = shape
    truth = np.zeros(rows, np.int64) if labels is None else _classes(labels, rows, classes)
    names = ",".join(f"class{number}" for number in range(classes))
    about = datasets.declare(parse_classes(f"arrays{classes}", names))
    return Pool(
        dataset=about.name,
        split="test",
        task=Task.EXPRESSION,
        names=tuple(arrays),
        fingerprints=tuple(arrays),
        # Every pair is tried: a view of its own for each.
        views=tuple(f"v{i}" for i in range(len(arrays))),
        ids=np.array([f"{row:09d}" for row in range(rows)]),
        outputs_MNC=np.stack(list(arrays.values())),
        labels=truth,
    )


def _classes(labels: np.ndarray, rows: int, classes: int) -> np.ndarray:
    values = np.asarray(labels)
    if values.shape != (rows,) or values.dtype.kind not in "iu":
        raise Ig3dError(f"labels: an array {values.shape} of {values.dtype}; give {rows} class numbers")
    if values.min() < 0 or values.max() >= classes:
        raise Ig3dError(f"labels: from {values.min()} to {values.max()}, but there are classes 0 to {classes - 1}")
    return values.astype(np.int64)
