"""Extraction with Ray Data: pieces of a data set are distributed over as many encoders as fit."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import ray
import torch
from ray.exceptions import RayError

from ig3d_ray.data.encoder_record import EncoderRecord
from ig3d_ray.data.samples import load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.face3d.extraction import Extraction, PieceWorker
from ig3d_ray.on_ray.autoscaling import has_autoscaler
from ig3d_ray.on_ray.cluster import encoders_that_fit
from ig3d_ray.storage.store import Store


def extract_on_ray(
    extraction: Extraction, gpus_per_worker: float, cpus_per_worker: int, on_piece: Callable[[int, int], None]
) -> None:
    """Extract the missing pieces.

    Args:
        gpus_per_worker: of each encoder; 0 for CPUs alone.
        on_piece: called with each finished piece, and the number of its images without parameters.
    """
    missing = extraction.missing()
    if not missing:
        return
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    fit = encoders_that_fit(gpus_per_worker, cpus_per_worker)
    if fit < 1 and not has_autoscaler():
        message = f"an encoder asks for {cpus_per_worker} CPUs and {gpus_per_worker:g} GPUs"
        raise Ig3dError(f"{message}, and no machine here has them; lower --cpus-per-worker or --gpus-per-worker")
    workers = max(1, min(fit, len(missing)))
    # On an autoscaling cluster there may be more encoders later.
    most = len(missing) if has_autoscaler() else workers
    pool = ray.data.ActorPoolStrategy(min_size=workers, max_size=most)
    # One row per block: a piece is the unit of work, and of the work lost with a machine.
    pieces = ray.data.from_items([{"piece": piece} for piece in missing], override_num_blocks=len(missing))
    done = pieces.map_batches(
        _Worker,
        fn_constructor_args=(
            extraction.store.uri,
            extraction.samples.dataset,
            extraction.representation,
            asdict(extraction.record),
            extraction.folder,
        ),
        batch_size=1,
        compute=pool,
        num_cpus=cpus_per_worker,
        num_gpus=gpus_per_worker or None,
    )
    try:
        for row in done.iter_rows():
            on_piece(int(row["piece"]), int(row["without"]))
    except RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1] if lines else type(error).__name__
        raise Ig3dError(f"the extraction stopped: {reason}; what is done is kept: start it again") from error


class _Worker:
    """An encoder in a separate process."""

    def __init__(self, uri: str, dataset: str, representation: Any, record: dict[str, Any], folder: str) -> None:
        store = Store(uri)
        samples = load_samples(store, dataset, only=(), presence=True)
        extraction = Extraction.of(store, samples, representation, EncoderRecord(**record))
        # The data set must be the one that the driver read, or pieces would contain other samples.
        if extraction.folder != folder:
            raise RuntimeError(f"{dataset}: its samples table changed during the extraction; start again")
        self.work = PieceWorker(extraction, torch.device("cuda") if torch.cuda.is_available() else None)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        without = [self.work(int(piece)) for piece in batch["piece"]]
        return {"piece": batch["piece"], "without": np.array(without)}
