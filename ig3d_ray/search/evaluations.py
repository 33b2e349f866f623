"""Evaluations on a report set: each search that reported on it, so that verdicts are corrected for their number.

Whoever searches again and again reports, in the end, what looked best on the report set. A record is never changed or
removed; searches in another storage can't be known.
"""

import hashlib
import json

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store


def record_evaluation(store: Store, space: SearchSpace, report: Pool, folder: str) -> int:
    """Record that a search reported on a set, once; which evaluation on it that is, from 1.

    Args:
        store: that holds the search.
        space: of the search.
        report: the set.
        folder: of the search.
    """
    number = evaluation_of(store, report, folder)
    if number is not None:
        return number
    among, search = _among(report), paths.parse_search(folder).search
    number = len(store.names(among)) + 1
    content = {"search": folder, "objective": space.objective, "members": list(report.names), "pool": report.digest}
    store.write(f"{among}/{number:06d}-{search}.json", json.dumps(content, indent=2).encode() + b"\n")
    return number


def evaluation_of(store: Store, report: Pool, folder: str) -> int | None:
    """Which evaluation on a set a search was; None if it isn't recorded. Arguments as for `record_evaluation`."""
    search = paths.parse_search(folder).search
    known = sorted(name.rsplit("/", 1)[1] for name in store.names(_among(report)))
    return next((rank for rank, name in enumerate(known, 1) if name[7:] == f"{search}.json"), None)


def _among(report: Pool) -> str:
    """The folder of the evaluations on a set; it is known by its labels, whatever its members."""
    digest = report.labels_digest or hashlib.sha256(report.samples_digest.encode()).hexdigest()
    return paths.evaluations(report.dataset, report.split, digest)
