"""Scoring cached members while others still train, so that little remains to be searched afterwards."""

import logging
import threading
import time

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.search.candidates import Candidate, all_pairs, always_scored, choices
from ig3d_ray.search.explorer import Remembered
from ig3d_ray.search.protocol import Parts, plan
from ig3d_ray.search.scoring import Result, best_of, score_batch
from ig3d_ray.storage.store import Store
from ig3d_ray.types import view_group
from ig3d_ray.workflow.inventory import load_pools, take_inventory

logger = logging.getLogger(__name__)
CHUNK = 50
SHARE = 0.1
"""Share of the time: the driver may share its machine with trainings, and earlier scores bring no benefit."""


class EarlyScores:
    """Scores the members that are cached, and their pairs, in the background.

    A score depends on its samples and its members' outputs: the search that follows reuses it only where it
    uses the same samples, which holds unless outputs of a later member are missing for some.

    Args:
        store: where the members are cached.
        space: what will be searched.
    """

    def __init__(self, store: Store, space: SearchSpace) -> None:
        self.store, self.space = store, space
        self._found: dict[tuple[str, tuple[str, ...], Candidate], Result] = {}
        self._news, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="early-scores", daemon=True)

    def __enter__(self) -> "EarlyScores":
        self._thread.start()
        self._news.set()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._news.set()
        self._thread.join()

    def notify(self) -> None:
        """Score members cached since the last call."""
        self._news.set()

    def remembered(self, parts: Parts) -> Remembered:
        """The results that are valid on these parts."""
        names, marks = parts.whole.names, parts.whole.fingerprints
        fingerprints = dict(zip(names, marks, strict=True))
        digests = [part.samples_digest for part in parts] if self._found else []
        found: dict[tuple[int, Candidate], Result] = {}
        for (samples, members, candidate), result in self._found.items():
            if members == tuple(fingerprints.get(name) for name in candidate.members):
                found |= {(i, candidate): result for i, digest in enumerate(digests) if digest == samples}
        return found

    def _work(self) -> None:
        while not self._over.is_set():
            self._news.wait()
            self._news.clear()
            began = time.monotonic()
            try:
                self._score_cached()
            except Ig3dError as error:
                # The search will encounter the same error and report it.
                logger.info(f"search: not begun while members train: {error}")
                return
            self._over.wait((time.monotonic() - began) * (1 / SHARE - 1))

    def _score_cached(self) -> None:
        splits = self.space.protocol.splits
        cards = take_inventory(self.store, self.space).usable(splits)
        if not cards or self._over.is_set():
            return
        pools, _ = load_pools(self.store, self.space, cards)
        for number, part in enumerate(plan(self.space.protocol, pools, self.space.seed).parts):
            candidates = self._candidates(part)
            fresh = [c for c in candidates if self._key(part, c) not in self._found]
            for start in range(0, len(fresh), CHUNK):
                if self._over.is_set():
                    return
                for result in score_batch(part, fresh[start : start + CHUNK], self.space):
                    self._found[self._key(part, result.candidate)] = result
            if number == 0 and fresh:
                best = best_of([self._found[self._key(part, c)] for c in candidates], self.space.objective)
                message = f"{best.score:.4f} ({' + '.join(best.members)})"
                logger.info(f"search: best of the {len(part.names)} members cached so far {message}")

    def _candidates(self, pool: Pool) -> list[Candidate]:
        """Members alone and in pairs; a method on all members must wait until all are cached."""
        among, views = choices(self.space, pool), {view_group(spec.view) for spec in self.space.members()}
        found = [candidate for candidate in always_scored(self.space, pool) if candidate.method is None]
        enumerable = among.pairs is not None and among.pairs <= self.space.search.enumerate_up_to
        # If a view is still missing, the pairs available now will not be searched.
        if enumerable and set(among.groups) == views:
            found += all_pairs(self.space, pool)
        return found

    @staticmethod
    def _key(pool: Pool, candidate: Candidate) -> tuple[str, tuple[str, ...], Candidate]:
        fingerprints = dict(zip(pool.names, pool.fingerprints, strict=True))
        return pool.samples_digest, tuple(fingerprints[name] for name in candidate.members), candidate
