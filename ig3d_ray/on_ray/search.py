"""Ray Tune around the search: a trial scores a batch of candidates against pools in shared memory."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.errors import Ig3dError
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.on_ray.store_fs import ray_filesystem
from ig3d_ray.search.candidates import Candidate
from ig3d_ray.search.explorer import Batch, Explorer, Remembered
from ig3d_ray.search.protocol import Parts
from ig3d_ray.search.scoring import Result, score_batch
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store

MAX_LOST_TRIALS = 20


class RoundSearcher(Searcher):  # type: ignore[misc]
    """Passes an Explorer's batches to Tune, one per trial, and returns a round's results when all are scored.

    A batch whose trial was lost with its machine is scheduled again.

    Args:
        explorer: gives candidates and takes their results.
        on_round: called after each round.
    """

    def __init__(self, explorer: Explorer, on_round: Callable[[Explorer], None]) -> None:
        super().__init__(metric="scored", mode="max")
        self.explorer, self.on_round = explorer, on_round
        self.round: list[Batch] = []
        self.waiting: list[Batch] = []
        self.scoring: dict[str, Batch] = {}
        self.results: dict[int, list[Result]] = {}
        self.error: str | None = None
        self.lost = 0

    def suggest(self, trial_id: str) -> Any:
        """The next batch as a trial's config; None while a round's last batches are still being scored."""
        if self.error:
            return Searcher.FINISHED
        while not self.waiting and not self.scoring:
            if self.round:
                self.explorer.finish_round(self.round, self.results)
                self.on_round(self.explorer)
            self.round, self.results = self.explorer.next_round(), {}
            if not self.round:
                return Searcher.FINISHED
            # A batch whose results are all known needs no trial.
            self.results = {batch.number: [] for batch in self.round if not batch.candidates}
            self.waiting = [batch for batch in self.round if batch.candidates]
        if not self.waiting:
            return None
        batch = self.scoring[trial_id] = self.waiting.pop(0)
        return {"part": batch.part, "candidates": [asdict(candidate) for candidate in batch.candidates]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Process a batch's scores, or requeue the batch if its trial failed."""
        batch = self.scoring.pop(trial_id, None)
        if batch is None:
            return
        if result and result.get("error"):
            self.error = result["error"]
        elif error or not result or "fusions" not in result:
            self.lost += 1
            self.waiting.insert(0, batch)
            if self.lost > MAX_LOST_TRIALS:
                self.error = f"{self.lost} trials were lost; check the machines of the cluster"
        else:
            fusions = [Fusion.model_validate(fusion) for fusion in result["fusions"]]
            members = [tuple(names) for names in result["members"]]
            scored = zip(batch.candidates, members, fusions, result["scores"], strict=True)
            self.results[batch.number] = [Result(*one) for one in scored]

    def __getstate__(self) -> dict[str, Any]:
        """State that Tune pickles for a restore, which is not used: without the study and the progress display."""
        return {"_metric": self._metric, "_mode": self._mode}

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a killed search resumes from its journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Never called: searches are not restored."""


_PARTS: dict[str, Parts] = {}
"""In each worker: the parts of the search that it works for."""


def _parts_here(whole: Any, rows: Any) -> Parts:
    """The parts of a search in this process: the whole pool lies in the node's shared memory and is not copied; of the
    others the last one that was asked for is kept from trial to trial."""
    if whole.hex() not in _PARTS:
        _PARTS.clear()
        _PARTS[whole.hex()] = Parts(ray.get(whole), ray.get(rows))
    return _PARTS[whole.hex()]


def run_on_ray(
    space: SearchSpace,
    parts: Parts,
    store: Store,
    name: str,
    on_round: Callable[[Explorer], None],
    remembered: Remembered | None = None,
) -> list[list[Result]]:
    """The whole search by Ray Tune; the results are those of `search.run_local`.

    Args:
        space: as for `run_local`.
        parts: as for `run_local`.
        store: where Tune keeps its state while it runs.
        name: of the search.
        on_round: called after each round with the explorer, for progress and for what is to be remembered.
        remembered: results of this same search from before it was killed.

    Raises:
        Ig3dError: a batch could not be scored.
    """
    explorer = Explorer(space, parts, remembered)
    searcher = RoundSearcher(explorer, on_round)
    # References, not arrays: a trainable that carries arrays is copied into every trial.
    whole, rows = ray.put(parts.whole), ray.put(parts.rows)

    def score(config: dict[str, Any]) -> dict[str, Any]:
        try:
            candidates = [Candidate(**{**c, "members": tuple(c["members"])}) for c in config["candidates"]]
            results = score_batch(_parts_here(whole, rows)[config["part"]], candidates, space)
        except Ig3dError as error:
            return {"scored": 0, "error": str(error)}
        except Exception as error:
            # It would also fail on another machine, so it isn't treated as a lost machine.
            return {"scored": 0, "error": f"{type(error).__name__}: {error}"}
        fusions = [result.fusion.model_dump(mode="json") for result in results]
        scores, members = [result.score for result in results], [list(result.members) for result in results]
        return {"scored": len(results), "members": members, "fusions": fusions, "scores": scores}

    tuner = tune.Tuner(
        tune.with_resources(score, {"CPU": 1}),
        tune_config=tune.TuneConfig(
            metric="scored",
            mode="max",
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=space.search.concurrent * len(parts),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=name, storage_path=paths.TUNE, storage_filesystem=ray_filesystem(store), verbose=0
        ),
    )
    tuner.fit()
    store.remove(paths.tune_folder(name))
    if searcher.error:
        raise Ig3dError(f"the search stopped: {searcher.error}")
    return [study.order for study in explorer.studies]
