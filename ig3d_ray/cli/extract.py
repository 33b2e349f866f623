"""`ig3d extract`: 3D parameters from a data set's pictures."""

from pathlib import Path
from typing import Annotated

import typer

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths


def extract(
    encoder: Annotated[str, typer.Option(help="smirk or emoca.")],
    checkpoint: Annotated[Path, typer.Option(metavar="FILE", help="Its published checkpoint.")],
    dataset: Annotated[str, typer.Option(help="Whose pictures; its samples table gets the parameters.")],
    storage: Annotated[str, typer.Option(metavar="URI", help="A folder, or s3://bucket/prefix.")],
    crop: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.task",
            help="Find and crop faces by this MediaPipe face landmarker; without: pictures as they are.",
        ),
    ] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster, host:port or auto.")] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0, help="Of each encoder; by default 1 where there are GPUs, or 0.")
    ] = None,
    cpus_per_worker: Annotated[int, typer.Option(min=1, help="Of each encoder; they decode pictures.")] = 1,
    replace: Annotated[bool, typer.Option("--replace", help="Replace parameters that came from elsewhere.")] = False,
) -> None:
    """3D parameters of a data set's pictures, by SMIRK's or EMOCA's encoder. Started again, it goes on where it was."""
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.extract import Wishes, extract_parameters
    from ig3d_ray.workflow.progress import Reporter

    if encoder not in ("smirk", "emoca"):
        raise Ig3dError(f"--encoder {encoder}: allowed: smirk, emoca")
    store = Store(storage)
    store.prepare()
    wishes = Wishes(dataset, encoder, checkpoint, crop, replace, gpus_per_worker, cpus_per_worker)  # type: ignore[arg-type]
    done, skipped = extract_parameters(store, wishes, address, Reporter())
    there = len(done) - done.table[encoder].null_count
    print(f"{dataset}: {there} of {len(done)} samples have {encoder} parameters; fingerprint {done.fingerprint}")
    if skipped:
        from ig3d_ray.data.ingest.build import reasons

        where = store.locate(paths.skipped_files(dataset))
        print(f"{len(skipped)} pictures gave none, listed in {where}:")
        for line in reasons(skipped):
            print(f"  {line}")
