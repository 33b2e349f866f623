"""The parameters of the two 3D face models: groups, their fixed order, and the paper's two subsets.

The published code concatenates groups in whatever order a JSON file has them. Here the order is fixed,
stored with each model, and never depends on a file.

Source: Ig3D section 3; sizes from the encoders' outputs (EMOCA 334, SMIRK 358).
"""

from typing import Literal

import numpy as np

Representation = Literal["emoca", "smirk"]
Subset = Literal["short", "full"]

# Reason for excluding an all-zero vector, which some extractions write where no face was found.
ALL_ZERO = "all its numbers are 0, as some write where no face was found"
GROUPS: dict[Representation, tuple[tuple[str, int], ...]] = {
    "emoca": (("exp", 50), ("pose", 6), ("tex", 50), ("detail", 128), ("shape", 100)),
    "smirk": (("pose", 3), ("shape", 300), ("expression", 50), ("eyelid", 2), ("jaw", 3)),
}
LEFT_OUT_OF_SHORT: dict[Representation, tuple[str, ...]] = {
    "emoca": ("tex", "detail"),
    "smirk": ("eyelid", "jaw"),
}
WIDTHS: dict[Representation, int] = {r: sum(size for _, size in groups) for r, groups in GROUPS.items()}


def subset_groups(representation: Representation, subset: Subset) -> tuple[tuple[str, int], ...]:
    """The (name, size) of each group in a subset, in order."""
    left_out = LEFT_OUT_OF_SHORT[representation] if subset == "short" else ()
    return tuple((name, size) for name, size in GROUPS[representation] if name not in left_out)


def subset_columns(representation: Representation, subset: Subset) -> np.ndarray:
    """Which columns of the full vector a subset keeps: `[D]`, int64, ascending.

    D is 156 or 334 for EMOCA, 353 or 358 for SMIRK.
    """
    kept = {name for name, _ in subset_groups(representation, subset)}
    columns, start = [], 0
    for name, size in GROUPS[representation]:
        if name in kept:
            columns.append(np.arange(start, start + size))
        start += size
    return np.concatenate(columns)
