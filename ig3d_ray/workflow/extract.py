"""3D parameters for a data set: import the encoder, extract the pieces on Ray, publish the samples table."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ig3d_ray.data.ingest.build import Skips
from ig3d_ray.data.representations import Representation
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.storage import paths
from ig3d_ray.storage.leases import exclusive, was_interrupted
from ig3d_ray.storage.store import Store

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from ig3d_ray.models.face3d.extraction import Extraction


@dataclass(frozen=True)
class ExtractionRequest:
    """The configuration of an extraction.

    Attributes:
        checkpoint: the encoder's published file.
        crop: MediaPipe's face landmarker; None: images are aligned crops.
        replace: parameters that were imported or extracted otherwise may be replaced.
        gpus_per_worker: of each encoder; None: one where there are GPUs.
    """

    dataset: str
    representation: Representation
    checkpoint: Path
    crop: Path | None
    replace: bool
    gpus_per_worker: float | None
    cpus_per_worker: int


def extract_parameters(store: Store, request: ExtractionRequest, address: str | None) -> tuple[Samples, Skips]:
    """Add parameters to a data set's samples, extracted from their images by an encoder.

    When restarted after being killed, it continues with the missing pieces.

    Returns:
        The new table, and (sample, why) of those whose image gave none.

    Raises:
        Ig3dError: an error that the user can correct.
    """
    from ig3d_ray.models.face3d.extraction import Extraction, bring_encoder, check_extractable

    samples, representation = load_samples(store, request.dataset), request.representation
    record = bring_encoder(store, representation, request.checkpoint, request.crop)
    extraction = Extraction.of(store, samples, representation, record)
    # Only pieces of this encoder and these images count.
    begun = len(extraction.missing()) < len(extraction)
    check_extractable(store, samples, representation, request.replace, begun)
    if extraction.is_published(samples):
        _clear(store, extraction)
        logger.info("extract: already finished")
        return samples, []
    with exclusive(store, extraction.folder):
        now = load_samples(store, request.dataset)
        if extraction.is_published(now):
            # The other driver finished everything.
            return now, []
        left = extraction.missing()
        images = len(extraction.samples)
        if len(left) < len(extraction):
            done = sum(len(extraction.rows(piece)) for piece in range(len(extraction)) if piece not in left)
            logger.info(f"extract: resumed, {done} of {images} images were already done")
        if left:
            _do(extraction, request, address)
        # Only one driver publishes a data set at a time, based on the current table.
        table = _table_lease(request.dataset)
        with exclusive(store, table) as leases:
            fence = leases.fence(table, paths.samples_table(request.dataset))
            return extraction.publish(load_samples(store, request.dataset), fence)


def _table_lease(dataset: str) -> str:
    return f"samples/{dataset}"


def _clear(store: Store, extraction: "Extraction") -> None:
    """Remove what a driver that was killed right after publishing left: its leases, and the folder of the pieces."""
    store.remove(extraction.folder)
    for name in (_table_lease(extraction.samples.dataset), extraction.folder):
        if was_interrupted(store, name):
            with exclusive(store, name):
                pass


def _do(extraction: "Extraction", request: ExtractionRequest, address: str | None) -> None:
    from ig3d_ray.on_ray.cluster import connected, gpus_there

    logger.info(f"ray: connecting to {address}" if address else "ray: starting on this machine")
    with connected(address, None):
        # Imports Ray, which must have read the environment that `connected` prepares.
        from ig3d_ray.on_ray.extract import extract_on_ray

        gpus = float(gpus_there() > 0) if request.gpus_per_worker is None else request.gpus_per_worker
        message = {"done": 0, "without": 0}

        def on_piece(piece: int, without: int) -> None:
            message["done"] += len(extraction.rows(piece))
            message["without"] += without
            failed = f", {message['without']} without parameters" if message["without"] else ""
            logger.info(f"extract: {message['done']} images done now, of {len(extraction.samples)}{failed}")

        extract_on_ray(extraction, gpus, request.cpus_per_worker, on_piece)
