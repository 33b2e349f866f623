"""The declarations of a storage, made known in this process."""

from ig3d_ray.data import datasets, representations
from ig3d_ray.storage.store import Store


def use_declarations(store: Store) -> None:
    """Make the data sets and representations that were created in a storage known by their names.

    Raises:
        Ig3dError: a declaration is broken, or its name means something else in this process.
    """
    datasets.known_in(store)
    representations.known_in(store)
