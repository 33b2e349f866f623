"""Parameters of a pool's samples, which a gate takes as input beside the members' outputs."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from ig3d_ray.data.representations import width_of
from ig3d_ray.data.samples import load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store


def with_parameters(store: Store, pool: Pool, representation: str) -> Pool:
    """A pool with the parameters of its samples, in its order of rows.

    Args:
        store: that has the samples table.
        pool: of a data set.
        representation: whose parameters.

    Raises:
        Ig3dError: there is no samples table, or a sample has no such parameters.
    """
    if not store.exists(paths.samples_table(pool.dataset)):
        raise Ig3dError(
            f"fusion.gate_parameters: {representation} parameters are read from the samples table, and {pool.dataset}"
            " has none in this storage; make the data set (docs/own-data.md), or leave out fusion.gate_parameters"
        )
    samples = load_samples(store, pool.dataset, only=[representation]).with_feature(representation)
    lacking = ~np.isin(pool.ids, samples.ids)
    if lacking.any():
        raise Ig3dError(
            f"{pool.dataset} {pool.split}: sample {str(pool.ids[lacking][0])!r} has no {representation} parameters"
            f" ({int(lacking.sum())} of {len(pool)} such), and a gate takes them as input; add them with"
            " `ig3d data features` or `ig3d extract`, or leave out fusion.gate_parameters"
        )
    ids = pa.chunked_array([pool.ids.tolist()], pa.string())
    vectors = samples.params_of(representation, ids, np.arange(width_of(representation)))
    return replace(pool, parameters={representation: vectors})
