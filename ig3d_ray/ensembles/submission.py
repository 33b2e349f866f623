"""Predictions in the forms that challenges take: ABAW's text files, and a plain file of labels."""

from pathlib import Path
from typing import Literal

import pandas as pd

from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.output_files import write_file

Submission = Literal["table", "abaw", "labels"]


def submission_text(spec: EnsembleSpec, frame: pd.DataFrame, form: Submission) -> str:
    """Predictions as text.

    `abaw` has a line per frame below `image_location,valence,arousal`, or for expressions the number of the class below
    the classes' names; `labels` has each sample's id and the number of its class, separated by a blank.

    Args:
        spec: whose classes.
        frame: as `from_tables.fused_frame` has it; the order of rows is kept.
        form: which.

    Raises:
        Ig3dError: plain labels of valence and arousal.
    """
    ids = frame["sample_id"].tolist()
    if not spec.task.has_classes:
        if form == "labels":
            raise Ig3dError("--format labels: valence and arousal are no classes; use table or abaw")
        pairs = zip(frame["valence"].tolist(), frame["arousal"].tolist(), strict=True)
        rows = [f"{one},{v:.6f},{a:.6f}" for one, (v, a) in zip(ids, pairs, strict=True)]
        return "\n".join(["image_location,valence,arousal", *rows]) + "\n"
    numbers = [spec.class_names.index(label) for label in frame["predicted"].tolist()]
    if form == "labels":
        return "".join(f"{one} {number}\n" for one, number in zip(ids, numbers, strict=True))
    rows = [f"{one},{number}" for one, number in zip(ids, numbers, strict=True)]
    return "\n".join([f"image_location,{','.join(spec.class_names)}", *rows]) + "\n"


def write_submission(spec: EnsembleSpec, frame: pd.DataFrame, form: Submission, out: Path) -> None:
    """Publish predictions as text.

    Args:
        spec: whose classes.
        frame: as `from_tables.fused_frame` has it.
        form: which.
        out: the file.
    """
    write_file(out, submission_text(spec, frame, form).encode())
