"""The paper's numbers beside a search's: tables 4, 5, 7 and 8 of Ig3D (Dong et al. 2024), and what can't be reproduced.

Facts from the paper's tables. Where its own files or code contradict a number, it is marked with the reason.
"""

from dataclasses import dataclass

LEAK = (
    "the published RAF-DB code adds the first sample's 3D logits of each batch to all of it, and its batches are"
    " ordered by class: the true class leaks in (docs/findings.md)"
)
MIXED = "Table 8 takes valence from one fusion and errors from another; no published file gives this arousal"


@dataclass(frozen=True)
class Published:
    """A row of the paper.

    Attributes:
        table: its number.
        system: the name of the system.
        numbers: metric -> value, by this package's names.
        unreproducible: why it can't be reproduced; empty if no reason is known.
    """

    table: int
    system: str
    numbers: dict[str, float]
    unreproducible: str = ""


def _rows(
    table: int, metrics: tuple[str, ...], rows: dict[str, tuple[float, ...]], doubted: dict[str, str]
) -> list[Published]:
    return [
        Published(table, name, dict(zip(metrics, numbers, strict=True)), doubted.get(name, ""))
        for name, numbers in rows.items()
    ]


_AFFECTNET8 = _rows(
    4,
    ("accuracy",),
    {
        "DDAMFN (2D)": (0.6324,),
        "intermediate, SMIRK": (0.6117,),
        "intermediate, EMOCA": (0.6234,),
        "late, max, SMIRK": (0.6267,),
        "late, max, EMOCA": (0.6294,),
        "late, mean, SMIRK": (0.6262,),
        "late, mean, EMOCA": (0.6289,),
        "late, weighted 0.23, SMIRK": (0.6364,),
        "late, weighted 0.2, EMOCA": (0.6379,),
    },
    {},
)
_RAFDB = _rows(
    5,
    ("accuracy", "weighted_f1", "macro_f1"),
    {
        "DDAMFN (2D)": (0.9016, 0.9013, 0.8554),
        "intermediate, SMIRK": (0.9006, 0.9007, 0.8489),
        "intermediate, EMOCA": (0.8996, 0.899, 0.8501),
        "late, max, SMIRK": (0.8989, 0.8984, 0.8527),
        "late, max, EMOCA": (0.8941, 0.8944, 0.8462),
        "late, mean, SMIRK": (0.903, 0.9024, 0.8561),
        "late, mean, EMOCA": (0.913, 0.9135, 0.8413),
        "late, weighted 0.35, SMIRK": (0.9106, 0.9099, 0.8689),
        "late, weighted 0.35, EMOCA": (0.94, 0.9393, 0.8958),
    },
    dict.fromkeys(("late, max, EMOCA", "late, mean, EMOCA", "late, weighted 0.35, EMOCA"), LEAK),
)
_VA = _rows(
    7,
    ("mse", "mae", "rmse", "ccc_paper"),
    {
        "CAGE (2D)": (0.1044, 0.2377, 0.323, 0.7814),
        "MLP on EMOCA (3D)": (0.1061, 0.2483, 0.3257, 0.7637),
        "intermediate, EMOCA": (0.1061, 0.2398, 0.3257, 0.7749),
        "late, max": (0.1052, 0.2419, 0.3243, 0.7727),
        "late, min": (0.1053, 0.2441, 0.3245, 0.7726),
        "late, mean": (0.0956, 0.2325, 0.3092, 0.7891),
        "late, weighted 0.4": (0.0958, 0.2316, 0.3095, 0.7901),
    },
    {},
)
_VA += _rows(
    8,
    ("rmse_valence", "rmse_arousal", "ccc_valence", "ccc_arousal"),
    {"Ig3D": (0.323, 0.294, 0.724, 0.65)},
    {"Ig3D": MIXED},
)
PUBLISHED: dict[str, list[Published]] = {"affectnet8": _AFFECTNET8, "rafdb": _RAFDB, "affectnet_va": _VA}
"""Data set -> the paper's rows; none for AffectNet-7 and the drawn faces."""
