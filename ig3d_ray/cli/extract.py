"""`ig3d extract`: 3D parameters from a data set's images."""

from pathlib import Path
from typing import Annotated

import typer

from ig3d_ray.cli.options import Address, Dataset, RepresentationName, Storage
from ig3d_ray.cli.say import say
from ig3d_ray.storage import paths


def extract(
    encoder: Annotated[RepresentationName, typer.Option(help="Encoder of the 3D face model.")],
    checkpoint: Annotated[Path, typer.Option(metavar="FILE", help="The encoder's published checkpoint.")],
    dataset: Dataset,
    storage: Storage,
    crop: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.task",
            help="Find and crop faces with this MediaPipe face landmarker; without, images are taken as they are.",
        ),
    ] = None,
    address: Address = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(min=0, help="GPUs of each encoder; by default 1 where there are GPUs, otherwise 0.")
    ] = None,
    cpus_per_worker: Annotated[int, typer.Option(min=1, help="CPUs of each encoder; they decode images.")] = 1,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace parameters that were imported or extracted otherwise.")
    ] = False,
) -> None:
    """Extract 3D parameters with SMIRK's or EMOCA's encoder. Started again, it resumes where it was."""
    from ig3d_ray.cli.terminal import log_to_stderr
    from ig3d_ray.data.ingest.build import reasons
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.extract import ExtractionRequest, extract_parameters

    log_to_stderr()
    store = Store(storage)
    store.prepare()
    request = ExtractionRequest(dataset, encoder, checkpoint, crop, replace, gpus_per_worker, cpus_per_worker)
    samples, excluded = extract_parameters(store, request, address)
    count = int((~samples.missing(encoder)).sum())
    say(f"{dataset}: {count} of {len(samples)} samples have {encoder} parameters; fingerprint {samples.fingerprint}")
    if excluded:
        say(f"{len(excluded)} images without parameters, listed in {store.locate(paths.skipped_files(dataset))}:")
        for line in reasons(excluded):
            say(f"  {line}")
