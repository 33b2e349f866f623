"""Results of a search, saved in the storage: a killed search resumes, a finished one is evaluated again."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.search.candidates import Candidate
from ig3d_ray.search.protocol import Plan
from ig3d_ray.search.results import results_from_bytes, results_to_bytes
from ig3d_ray.search.scoring import Result
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store


def search_folder(space: SearchSpace, name: str, plan: Plan) -> str:
    """The folder of a search in a store: its name, and a hash of the space, the samples, their labels and outputs."""
    # The space defines how the pools are split.
    pools = plan.parts.whole.digest + plan.report.digest
    if space.protocol.floor is not None:
        subgroups = plan.parts.whole.attributes.get(space.protocol.floor.attribute, np.zeros(0, np.str_))
        pools += hashlib.sha256("\0".join(subgroups.tolist()).encode()).hexdigest()
    # Another version of this package may compute other scores, so it does not resume a search of this version.
    identity = hashlib.sha256(f"{version('ig3d-ray')}\0{space.hash}\0{pools}".encode()).hexdigest()[:8]
    return paths.search_folder(space.dataset, name, identity)


def load_results(store: Store, folder: str) -> list[list[Result]] | None:
    """The results of a finished search, None if there is none.

    Raises:
        Ig3dError: its table is broken.
    """
    if not store.exists(paths.ensemble_spec(folder)):
        return None
    table = paths.candidates(folder)
    found = results_from_bytes(store.read(table), store.locate(table))
    results: list[list[Result]] = [[] for _ in range(1 + max(part for part, _ in found))]
    for part, result in found:
        results[part].append(result)
    return results


class Journal:
    """The results of a search, saved after each round, so that a killed search can resume.

    Args:
        store: where the search will be published; the rounds are stored in a folder of it until then.
        folder: of the search in the store.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self.store, self.folder = store, folder
        self.remembered: dict[tuple[int, Candidate], Result] = {}
        for name in store.names(paths.rounds(self.folder)):
            for part, result in results_from_bytes(store.read(name), store.locate(name)):
                self.remembered[(part, result.candidate)] = result
        self._round = len(store.names(paths.rounds(self.folder)))

    def write(self, results: Sequence[Sequence[Result]]) -> None:
        """Publish what has been scored since the last call."""
        fresh = [[r for r in found if (part, r.candidate) not in self.remembered] for part, found in enumerate(results)]
        if not any(fresh):
            return
        self.store.write(paths.journal_round(self.folder, self._round), results_to_bytes(fresh))
        self._round += 1
        self.remembered |= {(part, r.candidate): r for part, found in enumerate(fresh) for r in found}
