"""`ig3d export`: an ensemble as a folder that runs without this package and without torch."""

from pathlib import Path
from typing import Annotated

import typer

from ig3d_ray.cli.locate import spec_at
from ig3d_ray.cli.options import SpecStorage, SpecUri
from ig3d_ray.cli.say import say


def export(
    spec: SpecUri,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder of the bundle.")],
    storage: SpecStorage = None,
) -> None:
    """Write a bundle: ONNX graphs checked against torch, weights, spec, model card, an example."""
    from ig3d_ray.ensembles.bundle.writing import write_bundle
    from ig3d_ray.ensembles.predictor import load_ensemble

    spec = spec_at(spec, storage)
    files = write_bundle(load_ensemble(spec, storage, "cpu"), out)
    size = sum((out / name).stat().st_size for name in files) / 2**20
    say(f"{out}: {len(files)} files, {size:.1f} MiB; to try it: python {out / 'example.py'}")
