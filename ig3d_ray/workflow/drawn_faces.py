"""The built-in data set in a store: drawn once, and only as it was asked for."""

import logging

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.json_files import sealed, unsealed
from ig3d_ray.storage.store import Store

logger = logging.getLogger(__name__)


def prepare_data(store: Store, space: SearchSpace) -> None:
    """Draw the built-in data set if it is requested and doesn't exist yet.

    Raises:
        Ig3dError: the store holds faces drawn otherwise; another data set has no samples table.
    """
    if space.data is None or space.dataset != "faces":
        return
    logger.info(f"data: {space.data.samples} faces")
    made = draw_faces(store, space.data.samples, space.data.seed)
    logger.info(f"data: {len(made)} faces in {store.locate(paths.dataset_folder('faces'))}")


def draw_faces(store: Store, samples: int, seed: int) -> Samples:
    """The built-in data set, drawn now or found in the store.

    Raises:
        Ig3dError: the store holds faces drawn otherwise, which members may have been trained on.
    """
    from ig3d_ray.data.synthetic.faces import make_faces

    drawn, wanted = paths.drawing_record("faces"), {"samples": samples, "seed": seed}
    if store.exists(paths.samples_table("faces")):
        there = _json(store.read(drawn)) if store.exists(drawn) else None
        if there != wanted:
            where = store.locate(paths.dataset_folder("faces"))
            raise Ig3dError(
                f"{where}: holds faces drawn as {there}, not {wanted}; use another storage or ask for the same"
            )
        return load_samples(store, "faces")
    store.write(drawn, sealed(wanted).encode())
    return make_faces(store, samples, seed)


def _json(data: bytes) -> object:
    """The content of JSON; None if it isn't valid."""
    try:
        return unsealed(data)
    except ValueError:
        return None
