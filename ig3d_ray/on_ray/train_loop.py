"""The loop of each worker of a Ray Train run: train missing members, write checkpoints, publish, continue.

Members that can train as one network do (`training/cohort.py`); the others train one after another.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ray.train.collective import barrier, broadcast_from_rank_zero

from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.build import carry_over
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.on_ray.state import last_state, obey
from ig3d_ray.on_ray.watch import Leave, Word
from ig3d_ray.on_ray.work import Failures, Member, Work, last_line
from ig3d_ray.training.cohort import WIDEST_ON_CPU, CohortTrainer, cohorts
from ig3d_ray.training.runs import all_cached
from ig3d_ray.training.state import Epoch, HistoryRow, NonFiniteLoss, State
from ig3d_ray.training.trainer import Trainer


def train_loop(config: dict[str, Any]) -> tuple[Failures, Word]:
    """Train the members of a run that are not cached yet.

    Returns:
        fingerprint -> message, of the members that could not be trained; and why it left before the end, if it did.
    """
    work, failures = Work(config), Failures()
    try:
        _train_all(work, failures)
    except Leave as left:
        return failures, left.why
    return failures, "go on"


def _train_all(work: "Work", failures: Failures) -> None:
    """Train one cohort after another; members that fail are added to `failures`."""
    torch.set_num_threads(work.resources.cpus_per_worker)
    state = last_state()
    wanted = [fingerprint for fingerprint, _ in work.members if fingerprint in work.config["wanted"]]
    cached = all_cached(work.store, work.dataset)
    given_up = work.given_up()
    todo = [fingerprint for fingerprint in wanted if fingerprint not in cached and fingerprint not in given_up]
    if work.world > 1:
        # What is cached is decided once: rank 0 publishes while the others read.
        todo, given_up = broadcast_from_rank_zero((todo, given_up))
    failures |= given_up
    failures |= work.finish(todo)
    widest = None if work.feeding.device.type == "cuda" else WIDEST_ON_CPU
    groups = cohorts(work.members, work.steps, work.resources.cohort, widest)
    # Resume the interrupted training first: checkpoints of others would replace its own.
    under_way = set(state["members"]) if state is not None else set()
    for group in sorted(groups, key=lambda group: under_way.isdisjoint(name for name, _ in group)):
        names = [fingerprint for fingerprint, _ in group]
        resumed = state if state is not None and set(state["members"]) <= set(names) else None
        # An interrupted training resumes with its own members; the other missing members start.
        before = resumed["members"] if resumed else []
        missing = [name for name in names if name in todo and name not in before]
        for taken, going_on in ((before, resumed), (missing, None)):
            if any(name in todo for name in taken):
                failures |= _guarded(work, [member for member in group if member[0] in taken], todo, going_on)


def _guarded(work: "Work", members: list[Member], todo: list[str], resumed: dict[str, Any] | None) -> Failures:
    """Train members; a failure affects only them, and is not retried by these or later workers."""
    try:
        failures = _train(work, members, todo, resumed)
    except Leave:
        raise
    except Exception as error:
        failures = {name: last_line(error) for name, _ in members if name in todo}
        if work.world > 1:
            # Workers of one training must fail together, or some would wait for the others. Started again, they pass
            # over members with a recorded failure.
            if isinstance(error, Ig3dError):
                work.give_up(failures)
            raise
    if failures:
        work.give_up(failures)
    if work.world > 1:
        barrier()
    return failures


def _train(work: Work, members: Sequence[Member], todo: Sequence[str], resumed: dict[str, Any] | None) -> Failures:
    """Train a cohort, or one member, and publish those that are wanted."""
    if len(members) == 1:
        return _train_alone(work, *members[0], resumed)
    return _train_cohort(work, members, todo, resumed)


def _train_alone(work: Work, fingerprint: str, spec: TrainedSpec, resumed: dict[str, Any] | None) -> Failures:
    """All stages of one member; published by rank 0."""
    started = time.monotonic()
    first = resumed["stage"] if resumed else 0
    history: list[HistoryRow] = list(resumed["earlier"]) if resumed else []
    network: Standardized | None = None
    for stage in range(first, len(spec.stages)):
        trainer = work.trainer(spec, stage)
        if network is not None:
            carry_over(network, trainer.network)
        elif stage == 0:
            work.start_from(spec, trainer.network)
        network = trainer.network
        content = {"members": [fingerprint], "called": spec.name, "stage": stage, "earlier": history}
        try:
            rows = _stage(work, content, trainer, resumed["state"] if resumed and stage == first else None)
        except Ig3dError as error:
            if work.world > 1 and not isinstance(error, NonFiniteLoss):
                # If one worker can't read an image, the others wait for its gradients, so all must fail.
                raise
            return work.failed(fingerprint, spec, network, last_line(error))
        history = history + [row | {"stage": stage + 1} for row in rows]
        # Free its data before those of the next stage are loaded.
        del trainer
    assert network is not None
    if work.rank == 0:
        work.publish(fingerprint, spec, network, history, None if resumed else time.monotonic() - started)
    return {}


def _stage(work: Work, content: State, trainer: Trainer, state: State | None) -> list[HistoryRow]:
    """One stage's training, reported epoch by epoch: its history."""
    called, epochs = content["called"], trainer.recipe.epochs
    if state is not None:
        work.news.resumed(called, state)

    def on_epoch(epoch: Epoch, current: Callable[[], State]) -> None:
        work.news.epoch(called, epochs, epoch)
        obey(work.watch.after_epoch(), work, content, current)

    def on_step(current: Callable[[], State]) -> None:
        if work.news.is_due():
            work.news.within(called, epochs, trainer.plan.steps, current())
        obey(work.watch.after_step(), work, content, current)

    return trainer.run(on_epoch, state, on_step)


def _train_cohort(
    work: Work, members: Sequence[Member], todo: Sequence[str], resumed: dict[str, Any] | None
) -> Failures:
    started = time.monotonic()
    trainers = [work.trainer(spec, 0) for _, spec in members]
    called = f"{members[0][1].name} and {len(members) - 1} more"
    content = {"members": [fingerprint for fingerprint, _ in members], "called": called}
    state = resumed["state"] if resumed else None
    if state is not None:
        work.news.resumed(called, state)

    def on_epoch(epochs: dict[int, Epoch], current: Callable[[], State]) -> None:
        for index, epoch in epochs.items():
            spec = members[index][1]
            work.news.epoch(spec.name, spec.recipe.epochs, epoch)
        word: Word = work.watch.after_epoch()
        # If killed while publishing members, it must not train the remaining ones without the others: their
        # weights would differ in the last digits.
        is_over = not current()["active"]
        obey("checkpoint" if word == "go on" and is_over else word, work, content, current)

    def on_step(current: Callable[[], State]) -> None:
        obey(work.watch.after_step(), work, content, current)

    failures: Failures = {}
    ended = CohortTrainer(trainers).run(on_epoch, state, on_step)
    each = None if resumed else (time.monotonic() - started) / len(members)
    for (fingerprint, spec), trainer, end in zip(members, trainers, ended, strict=True):
        if fingerprint not in todo:
            continue
        if end.error is not None:
            failures |= work.failed(fingerprint, spec, trainer.network, str(end.error))
            continue
        try:
            work.publish(fingerprint, spec, trainer.network, [row | {"stage": 1} for row in end.history], each)
        except Ig3dError as error:
            failures[fingerprint] = last_line(error)
    return failures
