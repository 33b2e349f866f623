"""Training of missing members: the runs, their order, members that other drivers train, and the estimated duration."""

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ig3d_ray.config.resources import Resources, places
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.registry import has_network
from ig3d_ray.models.spec import TrainedSpec, fingerprint
from ig3d_ray.storage import paths
from ig3d_ray.storage.leases import WAIT_SECONDS, Leases, Owner
from ig3d_ray.storage.store import Store
from ig3d_ray.training.cost_model import USUAL_GPU, Timing, TimingLog, read_timings, speed
from ig3d_ray.training.runs import TRAINED_SPLITS, Run, all_cached, make_runs
from ig3d_ray.training.schedule import Forecast, estimates, forecast, longest_first
from ig3d_ray.workflow.inventory import Inventory, Wanted, alike, check_startable, check_trainable
from ig3d_ray.workflow.progress import Reporter

logger = logging.getLogger(__name__)


def to_train(inventory: Inventory) -> list[Wanted]:
    """The members of a space that are trained here and whose logits are not all cached."""
    return [w for w in inventory.missing(TRAINED_SPLITS) if has_network(w.spec)]


def what_is_missing(store: Store, space: SearchSpace, inventory: Inventory) -> list[str]:
    """Why untrained members can't be trained, one line per reason."""
    specs = [w.spec for w in to_train(inventory) if has_network(w.spec)]
    samples = (
        load_samples(store, space.dataset, only=(), presence=True)
        if store.exists(paths.samples_table(space.dataset))
        else None
    )
    problems: dict[str, None] = {}
    checks: list[Callable[[], None]] = [partial(check_startable, store, [spec]) for spec in specs]
    if samples is not None:
        checks += [partial(check_trainable, samples, [spec]) for spec in alike(specs)]
    for check in checks:
        try:
            check()
        except Ig3dError as error:
            problems[str(error)] = None
    return list(problems)


def runs_of(store: Store, space: SearchSpace, inventory: Inventory) -> list[Run]:
    """The Ray Train runs that a space's members make, trained or not.

    Members are grouped into runs by their estimated duration on a typical device, not by measurements or what
    is available: a run that another cluster started must be the same here.
    """
    found = _members(inventory)
    return _runs(store, space, found, load_samples(store, space.dataset, only=(), presence=True)) if found else []


def _runs(store: Store, space: SearchSpace, found: Sequence[tuple[str, TrainedSpec]], samples: Samples) -> list[Run]:
    needs = space.resources
    device = USUAL_GPU if needs.gpus_per_worker else "cpu"
    together = _together(needs)
    expected = estimates(found, samples, [], device, together)
    seconds = {mark: one.seconds for mark, one in expected.items()}
    return make_runs(store, space.dataset, found, needs.members_per_run, seconds)


def _members(inventory: Inventory, samples: Samples | None = None) -> list[tuple[str, TrainedSpec]]:
    """The trained members, with the fingerprints that they have, or that they would have on these samples."""

    def mark(wanted: Wanted) -> str | None:
        if wanted.fingerprint or samples is None:
            return wanted.fingerprint
        return fingerprint(samples.dataset, samples.fingerprint, wanted.spec)

    found = [(mark(wanted), wanted.spec) for wanted in inventory.wanted]
    return [(mark, spec) for mark, spec in found if mark and has_network(spec)]


def _together(needs: Resources) -> int:
    """How many 3D classifiers share the cost of a step; on CPUs the cost is not shared."""
    return min(needs.cohort, needs.members_per_run) if needs.gpus_per_worker else 1


def train_missing(
    store: Store,
    space: SearchSpace,
    inventory: Inventory,
    leases: Leases,
    reporter: Reporter,
    on_cached: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Train what is missing on the connected Ray; member name -> why, of those that failed.

    Members that another driver trains are awaited, and taken over if that driver fails.

    Args:
        on_cached: called when a member's outputs are there.
    """
    from ig3d_ray.on_ray.train import train_runs

    missing = {wanted.fingerprint for wanted in to_train(inventory) if wanted.fingerprint}
    runs = runs_of(store, space, inventory)
    known = read_timings(store, space.dataset)
    # The order depends only on the relative durations of members, not on the GPU.
    device, together = device_of(space, known), _together(space.resources)
    expected = estimates(
        _members(inventory), load_samples(store, space.dataset, only=(), presence=True), known, device, together
    )
    log = TimingLog(store, space.dataset, leases.token)

    def on_event(event: dict[str, Any]) -> None:
        reporter.training(event)
        log.note(event)
        if "cached" in event:
            on_cached()

    reporter.start_training(len(missing), len(space.trainable()) - len(missing))
    failed: dict[str, str] = {}
    others: dict[str, Owner] = {}
    try:
        while left := missing - failed.keys() - all_cached(store, space.dataset):
            mine, found = _claimed(leases, runs, left)
            # Another driver may have finished and released some of them since they were looked up.
            mine -= all_cached(store, space.dataset)
            if mine:
                ordered = longest_first(runs, expected, mine)
                failed |= train_runs(ordered, space.resources, on_event, mine, leases.check)
            elif not others:
                _, owner = next(iter((others := found).items()))
                message = f"{len(left)} members are being trained by another driver"
                logger.info(f"train: {message} ({owner.host}, pid {owner.pid}): waiting for it")
            if not mine:
                leases.check()
                time.sleep(WAIT_SECONDS)
            leases.release_all()
    finally:
        reporter.end_training()
        log.write()
    names = {fingerprint: spec.name for run in runs for fingerprint, spec in run.members}
    return {names[fingerprint]: why for fingerprint, why in failed.items()}


@dataclass(frozen=True)
class Machines:
    """The devices for trainings.

    Attributes:
        device: `cpu`, or a GPU's name.
        count: of CPUs, or of GPUs.
        each: how many of them a worker takes.
        workers: of a run.
    """

    device: str
    count: int
    each: float
    workers: int

    @property
    def places(self) -> int:
        """How many runs train side by side."""
        return places(self.count, self.each) // self.workers

    @staticmethod
    def asked(
        store: Store, space: SearchSpace, gpus: int | None, gpu_type: str | None, price: float | None
    ) -> "Machines":
        """The devices requested on the command line; by default this machine's CPUs, or one GPU.

        Raises:
            Ig3dError: GPUs for a space that trains without, an unknown one, or fewer than a training needs.
        """
        needs, each = space.resources, space.resources.gpus_per_worker
        if not each:
            if gpus or gpu_type or price is not None:
                raise Ig3dError(
                    "this space trains on CPUs: resources.gpus_per_worker is 0; add --set resources.gpus_per_worker=1"
                )
            cpus = needs.cpus_per_worker
            return Machines("cpu", max(os.cpu_count() or 1, needs.workers * cpus), cpus, needs.workers)
        device = gpu_type or device_of(space, read_timings(store, space.dataset))
        if gpu_type:
            speed(gpu_type)
        least = math.ceil(needs.workers / places(1, each)) if each < 1 else needs.workers * round(each)
        if gpus is not None and gpus < least:
            raise Ig3dError(f"--gpus {gpus}: a training of this space takes {least}; lower resources.workers")
        return Machines(device, gpus or least, each, needs.workers)


def device_of(space: SearchSpace, known: Sequence[Timing]) -> str:
    """The device that a space's members train on: the card of earlier trainings, `cpu` where it asks for no GPU."""
    if not space.resources.gpus_per_worker:
        return "cpu"
    return next((timing.device for timing in known if timing.device != "cpu"), USUAL_GPU)


def forecast_training(store: Store, space: SearchSpace, inventory: Inventory, machines: Machines) -> Forecast | None:
    """The estimated duration of the missing trainings; None if none is missing, or if there are no samples to count:
    no samples table, and no data set that the run would draw."""
    todo = to_train(inventory)
    samples = samples_to_train_on(store, space) if todo else None
    if samples is None:
        return None
    members = _members(inventory, samples)
    wanted = {mark for (mark, spec) in members if any(w.spec == spec for w in todo)}
    known, together = read_timings(store, space.dataset), _together(space.resources)
    expected = estimates(members, samples, known, machines.device, together)
    return forecast(_runs(store, space, members, samples), expected, wanted, machines.places)


def samples_to_train_on(store: Store, space: SearchSpace) -> Samples | None:
    """The samples of a data set, or those that a run would draw; None if there are none."""
    if store.exists(paths.samples_table(space.dataset)):
        return load_samples(store, space.dataset, only=(), presence=True)
    if space.dataset != "faces" or space.data is None:
        return None
    from ig3d_ray.data.synthetic.faces import undrawn_faces

    return undrawn_faces(space.data.samples, space.data.seed)


def _claimed(leases: Leases, runs: Sequence[Run], left: set[str]) -> tuple[set[str], dict[str, Owner]]:
    """The remaining members that this driver may train, and the owners of the other members or of their runs.

    A run is claimed before its members, because its folder is one driver's; members, because other search spaces
    put them into other runs.
    """
    wanted = {paths.run_lease(run.name): [f for f, _ in run.members if f in left] for run in runs}
    wanted = {name: members for name, members in wanted.items() if members}
    taken = leases.acquire_all(list(wanted))
    others = {member: owner for name, owner in taken.items() for member in wanted[name]}
    free = {
        paths.member_lease(runs[0].dataset, f): f for name, found in wanted.items() if name not in taken for f in found
    }
    others |= {free[name]: owner for name, owner in leases.acquire_all(list(free)).items()}
    return set(free.values()) - others.keys(), others
