"""3D parameters for a data set: the encoder brought, its pieces done on Ray, the samples table published."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ig3d_ray.data.ingest.build import Skips
from ig3d_ray.data.representations import Representation
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.storage.leases import alone
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.progress import Reporter

if TYPE_CHECKING:
    from ig3d_ray.models.face3d.extraction import Extraction


@dataclass(frozen=True)
class Wishes:
    """What is to be extracted, and with what.

    Attributes:
        checkpoint: the encoder's published file. crop: MediaPipe's face landmarker; None: pictures are aligned crops.
        replace: parameters that came from elsewhere may be replaced.
        gpus_per_worker: of each encoder; None: one where there are GPUs.
    """

    dataset: str
    representation: Representation
    checkpoint: Path
    crop: Path | None
    replace: bool
    gpus_per_worker: float | None
    cpus_per_worker: int


def extract_parameters(store: Store, wishes: Wishes, address: str | None, reporter: Reporter) -> tuple[Samples, Skips]:
    """Give a data set's samples the parameters that an encoder sees in their pictures.

    Started again after it was killed, it goes on with the pieces that are missing.

    Returns:
        The new table, and (sample, why) of those whose picture gave none.

    Raises:
        Ig3dError: something that the user can put right.
    """
    from ig3d_ray.models.face3d.extraction import Extraction, bring_encoder, check_extractable

    samples, representation = load_samples(store, wishes.dataset), wishes.representation
    record = bring_encoder(store, representation, wishes.checkpoint, wishes.crop)
    extraction = Extraction.of(store, samples, representation, record)
    # Of this very encoder and these pictures: another's pieces allow nothing.
    begun = len(extraction.missing()) < len(extraction)
    check_extractable(store, samples, representation, wishes.replace, begun)
    if extraction.is_published(samples):
        reporter.say("extract: done before")
        return samples, []
    with alone(store, extraction.folder, lambda told: reporter.say(f"extract: {told}")):
        now = load_samples(store, wishes.dataset)
        if extraction.is_published(now):
            # Who was waited for did all of it.
            return now, []
        left = extraction.missing()
        pictures = len(extraction.samples)
        if len(left) < len(extraction):
            done = sum(len(extraction.rows(piece)) for piece in range(len(extraction)) if piece not in left)
            reporter.say(f"extract: goes on, {done} of {pictures} pictures were done before")
        if left:
            _do(extraction, wishes, address, reporter)
        # Of one data set only one publishes at a time, upon what the table has become meanwhile.
        with alone(store, f"samples/{wishes.dataset}", lambda told: reporter.say(f"extract: {told}")):
            return extraction.publish(load_samples(store, wishes.dataset))


def _do(extraction: "Extraction", wishes: Wishes, address: str | None, reporter: Reporter) -> None:
    from ig3d_ray.on_ray.cluster import connected, gpus_there
    from ig3d_ray.on_ray.extract import extract_on_ray

    reporter.say(f"ray: connecting to {address}" if address else "ray: starting on this machine")
    with connected(address, None):
        gpus = float(gpus_there() > 0) if wishes.gpus_per_worker is None else wishes.gpus_per_worker
        told = {"done": 0, "without": 0}

        def on_piece(piece: int, without: int) -> None:
            told["done"] += len(extraction.rows(piece))
            told["without"] += without
            failed = f", {told['without']} without parameters" if told["without"] else ""
            reporter.say(f"extract: {told['done']} pictures done now, of {len(extraction.samples)}{failed}")

        extract_on_ray(extraction, gpus, wishes.cpus_per_worker, on_piece)
