"""`ig3d export`: an ensemble as a folder that runs where neither this package nor torch is."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A best_ensemble.json, as a file or URI.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="A folder that isn't there yet.")],
    storage: Annotated[
        str | None, typer.Option(metavar="URI", help="Where the spec's checkpoints lie; by default where it lies.")
    ] = None,
) -> None:
    """Write a bundle: ONNX graphs checked against torch, weights, spec, model card, an example."""
    from ig3d_ray.ensembles.bundle.writing import write_bundle
    from ig3d_ray.ensembles.predictor import load_ensemble

    files = write_bundle(load_ensemble(spec, storage, "cpu"), to)
    size = sum((to / name).stat().st_size for name in files) / 2**20
    print(f"{to}: {len(files)} files, {size:.1f} MiB; try it: python {to / 'example.py'}")
