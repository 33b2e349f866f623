"""The run: data, training, cache, search, export. It coordinates the steps; other modules implement them."""

import functools
import logging
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ig3d_ray.config.resources import Resources
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data import datasets
from ig3d_ray.data.samples import load_samples
from ig3d_ray.ensembles.export import build_spec, publish
from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.registry import has_network
from ig3d_ray.report.findings import Findings
from ig3d_ray.search.evaluations import record_evaluation
from ig3d_ray.search.explorer import Explorer, Remembered, run_for, run_local
from ig3d_ray.search.journal import Journal, load_results, search_folder
from ig3d_ray.search.leaderboard import Leaderboard, build_leaderboard
from ig3d_ray.search.protocol import Parts, plan
from ig3d_ray.search.scoring import Result
from ig3d_ray.storage import paths
from ig3d_ray.storage.leases import Leases, exclusive
from ig3d_ray.storage.store import Store
from ig3d_ray.training.runs import clear_finished
from ig3d_ray.workflow.drawn_faces import prepare_data
from ig3d_ray.workflow.early_scores import EarlyScores
from ig3d_ray.workflow.inventory import Inventory, check_startable, check_trainable, load_pools, take_inventory
from ig3d_ray.workflow.progress import Reporter
from ig3d_ray.workflow.train import runs_of, to_train, train_missing

if TYPE_CHECKING:
    from ig3d_ray.search.optuna_mirror import StudyCopy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a search or a run.

    Attributes:
        spec: the exported ensemble.
        folder: its folder in the store.
        board: its leaderboard.
        missing: member name -> why it was excluded.
        failed: member name -> why its training failed.
        trained: how many members were trained now.
        unused: how many trained members the store holds that the space doesn't name.
        findings: what a report of it shows.
    """

    spec: EnsembleSpec
    folder: str
    board: Leaderboard
    missing: dict[str, str]
    failed: dict[str, str]
    trained: int
    unused: int
    findings: Findings


NAMED_AT_MOST = 5
HERE_SECONDS = 10.0
"""A search on one machine is handed over to Ray Tune after so long, as long as its first workers take to start."""
HERE_BYTES = 64 * 2**20
"""Of a larger pool, fitting all members once may take longer than that, and memory that the driver lacks."""
OnRound = Callable[[Explorer], None]
Search = Callable[[SearchSpace, Parts, str, OnRound, Remembered], list[list[Result]]]


def publish_declaration(store: Store, space: SearchSpace) -> None:
    """Publish the declaration of a user's own data set, where workers and later commands find it.

    Raises:
        Ig3dError: the storage has another data set of this name.
    """
    datasets.publish(store, datasets.dataset(space.dataset))


def search_store(
    store: Store,
    space: SearchSpace,
    name: str,
    reporter: Reporter,
    optuna_storage: str | None = None,
    search: Search | None = None,
    early_scores: EarlyScores | None = None,
) -> Outcome:
    """Search what the store holds for a space, and export the best.

    A search of the same space over the same outputs is not repeated: its spec exists already.

    Args:
        name: of the space, for the search's folder.
        optuna_storage: URL of a data base that gets a copy of Optuna's study.
        search: how to run it; in this process by default.
        early_scores: what was scored while members trained.

    Raises:
        Ig3dError: the pool is empty, or something in the store is broken.
    """
    publish_declaration(store, space)
    inventory = take_inventory(store, space)
    splits = space.protocol.splits
    usable = inventory.usable(splits)
    if not usable:
        raise Ig3dError(_empty_pool(store, space, inventory))
    pools, cards = load_pools(store, space, usable)
    arranged = plan(space.protocol, pools, space.seed)
    folder = search_folder(space, name, arranged)
    with exclusive(store, folder) as leases:
        started = time.monotonic()
        known = load_results(store, folder)
        if known is not None:
            logger.info(f"search: already finished, {sum(map(len, known))} candidates in {store.locate(folder)}")
        results = known
        if results is None:
            journal, copy_name = Journal(store, folder), paths.parse_search(folder).label
            if journal.remembered:
                logger.info(f"search: resumed, {len(journal.remembered)} candidates were already scored")
            early = early_scores.remembered(arranged.parts) if early_scores else {}
            if early:
                logger.info(f"search: {len(early)} candidates were scored while members trained")
            after = _AfterRound(reporter, journal, _study_copy(optuna_storage, copy_name))
            how, short = search or _in_process, paths.parse_search(folder).search
            results = how(space, arranged.parts, short, after.write, {**early, **journal.remembered})
            after.close()
        evaluations = record_evaluation(store, space, arranged.report, folder)
        board = replace(build_leaderboard(space, arranged, results), evaluations=evaluations)
        spec = build_spec(store, space, name, arranged, board, cards, inventory.dataset_fingerprint)
        published = known is not None and store.read(paths.ensemble_spec(folder)) == spec.to_json().encode()
        if published:
            store.remove(paths.rounds(folder))
        else:
            leases.verify(folder)
            publish(store, folder, space, results, spec, time.monotonic() - started)
            _sweep(store, folder)
        findings = Findings(space, arranged, board, spec, results)
        return Outcome(spec, folder, board, inventory.excluded(splits), {}, 0, inventory.unused, findings)


def _sweep(store: Store, folder: str) -> None:
    """Delete the files of killed searches of this space that had other members than now."""
    own = paths.parse_search(folder)
    among = paths.searches_folder(own.dataset)
    begun = {name for name, files in paths.files_by_folder(store.names(among), among).items() if _has_rounds(files)}
    leased = paths.lease_folder(among)
    begun |= paths.first_folders(store.names(leased), leased) | paths.first_folders(store.names(paths.TUNE), paths.TUNE)
    with Leases(store) as leases:
        for other in begun - {own.search}:
            # Not those of another space, and not those that a live driver is using.
            there = f"{among}/{other}"
            if paths.parse_search(there).space == own.space and leases.acquire(there) is None:
                store.remove(paths.rounds(there))
                store.remove(paths.tune_folder(other))


def _has_rounds(files: set[str]) -> bool:
    return any(file.startswith(f"{paths.ROUNDS}/") for file in files)


def _empty_pool(store: Store, space: SearchSpace, inventory: Inventory) -> str:
    """Why no member can be searched, and what to do about it."""
    where = f"{store.locate(paths.logits_folder(space.dataset))}: the pool is empty"
    there = {card.name: card.splits for card in inventory.cards}
    if not there:
        return f"{where}; train with `ig3d run`, or import predictions with `ig3d import predictions`"
    needed = " and ".join(space.protocol.splits)
    has = ", ".join(f"{name} has {' and '.join(splits)}" for name, splits in list(there.items())[:NAMED_AT_MOST])
    way_out = "; --set protocol.kind=cross_fitted needs test alone" if space.protocol.kind == "dev" else ""
    return f"{where}: protocol {space.protocol.kind} needs predictions on {needed}, but {has}{way_out}"


def _in_process(
    space: SearchSpace, parts: Parts, name: str, on_round: OnRound, remembered: Remembered
) -> list[list[Result]]:
    return run_local(space, parts, on_round, remembered)


def _study_copy(url: str | None, name: str) -> "StudyCopy | None":
    """The copy of the study in a database; None without a URL.

    Raises:
        Ig3dError: it cannot be opened.
    """
    if url is None:
        return None
    from ig3d_ray.search.optuna_mirror import StudyCopy

    return StudyCopy(url, name)


@dataclass
class _AfterRound:
    """What happens after each round: it is written to the journal, copied to the database, and logged."""

    reporter: Reporter
    journal: Journal
    copy: "StudyCopy | None"
    last: Explorer | None = None

    def write(self, explorer: Explorer) -> None:
        self.last = explorer
        self.journal.write([study.order for study in explorer.studies])
        if self.copy is not None:
            self.copy.write(explorer)
        self.reporter.searching(explorer)

    def close(self) -> None:
        if self.copy is not None and self.last is not None:
            self.copy.close(self.last)


def run(
    store: Store,
    space: SearchSpace,
    name: str,
    address: str | None,
    reporter: Reporter,
    optuna_storage: str | None = None,
) -> Outcome:
    """Everything: draw the data if it is the built-in set, train what is missing, search, export.

    When restarted after being killed, it resumes; Ray is started only when it is needed.

    Args:
        address: of a Ray cluster; None for this machine.
        optuna_storage: URL of a data base that gets a copy of Optuna's study.

    Raises:
        Ig3dError: an error that the user can correct.
    """
    store.prepare()
    # What would end the search after the trainings ends the run before them.
    _study_copy(optuna_storage, name)
    publish_declaration(store, space)
    prepare_data(store, space)
    inventory = take_inventory(store, space)
    todo = to_train(inventory)
    if todo and any(wanted.fingerprint is None for wanted in todo):
        where = store.locate(paths.samples_table(space.dataset))
        way_out = "`ig3d data faces --storage URI`" if space.dataset == "faces" else "docs/own-data.md"
        raise Ig3dError(
            f"{where}: {space.dataset} has no samples table to train {todo[0].spec.name} on; see {way_out}, or use"
            " `ig3d search` for what the store holds"
        )
    if todo:
        specs = [w.spec for w in todo if has_network(w.spec)]
        check_trainable(load_samples(store, space.dataset, only=(), presence=True), specs)
        check_startable(store, specs)
    with ExitStack() as stack:
        leases = stack.enter_context(Leases(store))
        ray = _LazyRay(stack, address)
        failed: dict[str, str] = {}
        early = EarlyScores(store, space)
        if todo:
            ray.connect(space.resources)
            with early:
                failed = train_missing(store, space, inventory, leases, reporter, early.notify)
        else:
            logger.info(f"train: nothing to do, {len(space.trainable())} members cached")
        if not failed and space.trainable():
            runs = runs_of(store, space, inventory)
            clear_finished(store, runs)
            finished = [paths.member_lease(space.dataset, f) for run in runs for f, _ in run.members]
            leases.forget([paths.run_lease(run.name) for run in runs] + finished)
        for member, why in failed.items():
            logger.info(f"train: {member} failed: {why}")
        try:
            on_ray = functools.partial(ray.search, store)
            outcome = search_store(store, space, name, reporter, optuna_storage, on_ray, early)
        except Ig3dError as error:
            if not failed:
                raise
            first, why = next(iter(failed.items()))
            raise Ig3dError(f"{len(failed)} members could not be trained, {first}: {why}; and then: {error}") from error
    return replace(outcome, failed=failed, trained=len(todo) - len(failed))


@dataclass
class _LazyRay:
    """Ray, started when first needed and stopped when the stack closes."""

    stack: ExitStack
    address: str | None
    begins_here: bool = True
    is_up: bool = False

    @property
    def _is_one_machine(self) -> bool:
        return not (self.address or os.environ.get("RAY_ADDRESS"))

    def connect(self, training: Resources | None = None) -> None:
        if not self.is_up:
            from ig3d_ray.on_ray.cluster import connected

            address = self.address or os.environ.get("RAY_ADDRESS")
            logger.info(f"ray: connecting to {address}" if address else "ray: starting on this machine")
            self.stack.enter_context(connected(self.address, training))
            self.is_up = True

    def search(
        self,
        store: Store,
        space: SearchSpace,
        parts: Parts,
        name: str,
        on_round: OnRound,
        remembered: Remembered,
    ) -> list[list[Result]]:
        """By Ray Tune, unless it is over before Ray Tune would have begun: both give the same results."""
        if self.begins_here and self._is_one_machine and parts.whole.outputs_MNC.nbytes <= HERE_BYTES:
            begun = run_for(HERE_SECONDS, space, parts, on_round, remembered)
            if begun.results is not None:
                return begun.results
            remembered = begun.scored
        self.connect()
        from ig3d_ray.on_ray.search import run_on_ray

        return run_on_ray(space, parts, store, name, on_round, remembered)


def search_on_cluster(
    store: Store,
    space: SearchSpace,
    name: str,
    address: str,
    reporter: Reporter,
    optuna_storage: str | None = None,
) -> Outcome:
    """`search_store`, its batches scored by Ray Tune on a cluster."""
    with ExitStack() as stack:
        ray = _LazyRay(stack, address, begins_here=False)
        return search_store(store, space, name, reporter, optuna_storage, functools.partial(ray.search, store))
