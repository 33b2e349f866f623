"""Given 3D parameters for images that are in no data set, found by the image's name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ig3d_ray.data.ingest.features import read_parameters
from ig3d_ray.data.representations import Representation, width_of
from ig3d_ray.errors import Ig3dError


@dataclass(frozen=True)
class Parameters:
    """Parameter vectors by name.

    Attributes:
        rows: an image's relative path without suffix, or the last part of it -> row.
        vectors: `[K, 334 | 358]` float32.
        exact: whether only full names match.
    """

    rows: Mapping[str, int]
    vectors: np.ndarray
    exact: bool = False

    def of(self, name: str) -> np.ndarray | None:
        """The vector of an image; None where there is none."""
        row = self.row(name)
        return None if row is None else self.vectors[row]

    def row(self, name: str) -> int | None:
        """The index of an image's vector."""
        if self.exact:
            return self.rows.get(name)
        stem = name.rsplit(".", 1)[0] if "." in name.rsplit("/", 1)[-1] else name
        return self.rows.get(name, self.rows.get(stem, self.rows.get(stem.rsplit("/", 1)[-1])))

    def check(self, names: Iterable[str]) -> None:
        """Check that each vector belongs to at most one image.

        Raises:
            Ig3dError: two images would get the same vector.
        """
        taken: dict[int, str] = {}
        for name in names:
            row = self.row(name)
            if row is not None and taken.setdefault(row, name) != name:
                raise Ig3dError(
                    f"{taken[row]} and {name}: one vector of parameters has both their names; name folders too"
                )


def parameters_from(source: Path, representation: Representation) -> Parameters:
    """Read a folder or file of parameters, in any format that `ig3d data features` reads.

    Raises:
        Ig3dError: nothing can be read, or two vectors have the same name.
    """
    places, vectors, skipped = read_parameters(source, representation, None)
    if not places:
        first = f"; the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        raise Ig3dError(f"--{representation} {source}: contains no usable parameters{first}")
    rows = {place: row for row, place in enumerate(places)}
    if len(rows) < len(places):
        twice = next(place for row, place in enumerate(places) if rows[place] != row)
        raise Ig3dError(f"--{representation} {source}: duplicate parameters of {twice}; keep one of them")
    return Parameters(rows, vectors)


def parameters_of(names: list[str], vectors_ND: np.ndarray, representation: Representation) -> Parameters:
    """Vectors `[N, 334 | 358]` of named images; a row of NaN for none.

    Raises:
        Ig3dError: the width or the number of rows is wrong.
    """
    vectors = np.asarray(vectors_ND, dtype=np.float32)
    wanted = (len(names), width_of(representation))
    if vectors.shape != wanted:
        raise Ig3dError(f"{representation}: parameters are {vectors.shape}, but {len(names)} images need {wanted}")
    usable = np.asarray(np.isfinite(vectors).all(axis=1))
    return Parameters({name: row for row, name in enumerate(names) if usable[row]}, vectors, exact=True)
