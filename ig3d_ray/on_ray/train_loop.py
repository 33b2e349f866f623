"""What each worker of a Ray Train run does: train what is missing, checkpoint now and then, publish, go on.

Members that can train as one network do (`members/cohort.py`); the others train one after another.
"""

import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import Checkpoint
from ray.train.collective import barrier, broadcast_from_rank_zero

from ig3d_ray.data import catalog
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.members.build import Standardised, build_network, carry_over, start_from
from ig3d_ray.members.checkpoint import from_bytes, load_checkpoint, read_weights, to_bytes
from ig3d_ray.members.cohort import WIDEST_ON_CPU, CohortTrainer, cohorts
from ig3d_ray.members.course import Epoch, HistoryRow, NonFiniteLoss, OnStep, State
from ig3d_ray.members.epochs import EpochPlan
from ig3d_ray.members.inputs import GIB, Feeding
from ig3d_ray.members.publishing import publish, publish_failed
from ig3d_ray.members.run_data import RunData
from ig3d_ray.members.runs import all_cached, all_trained
from ig3d_ray.members.spec import TrainableSpec, parameter_groups, parse_spec
from ig3d_ray.members.timings import Timing, network_of
from ig3d_ray.members.training import Trainer, Worker
from ig3d_ray.on_ray.watch import Leave, Watch, Word
from ig3d_ray.space import Resources
from ig3d_ray.storage import Store

STATE_FILE = "state.pt"
Member = tuple[str, TrainableSpec]
Failures = dict[str, str]


def train_loop(config: dict[str, Any]) -> tuple[Failures, Word]:
    """Train the members of a run that are not cached yet.

    Returns:
        fingerprint -> message, of the members that could not be trained; and why it left before the end, if it did.
    """
    work, failures = _Work(config), Failures()
    try:
        _train_all(work, failures)
    except Leave as left:
        return failures, left.why
    return failures, "go on"


def _train_all(work: "_Work", failures: Failures) -> None:
    """Train cohort after cohort; who fails is added to `failures`."""
    torch.set_num_threads(work.resources.cpus_per_worker)
    state = _last_state()
    wanted = [fingerprint for fingerprint, _ in work.members if fingerprint in work.config["wanted"]]
    cached = all_cached(work.store, work.dataset)
    todo = [fingerprint for fingerprint in wanted if fingerprint not in cached]
    if work.world > 1:
        # What is cached is decided once: rank 0 publishes while the others look.
        todo = broadcast_from_rank_zero(todo)
    failures |= work.finish(todo)
    widest = None if work.feeding.device.type == "cuda" else WIDEST_ON_CPU
    groups = cohorts(work.members, work.steps, work.resources.cohort, widest)
    # First what was under way: checkpoints of others would take the place of its own.
    under_way = set(state["members"]) if state is not None else set()
    for group in sorted(groups, key=lambda group: under_way.isdisjoint(name for name, _ in group)):
        names = [fingerprint for fingerprint, _ in group]
        resumed = state if state is not None and set(state["members"]) <= set(names) else None
        # What was under way goes on with those that it had; the others that are missing begin.
        before = resumed["members"] if resumed else []
        missing = [name for name in names if name in todo and name not in before]
        for taken, going_on in ((before, resumed), (missing, None)):
            if any(name in todo for name in taken):
                failures |= _guarded(work, [member for member in group if member[0] in taken], todo, going_on)


def _guarded(work: "_Work", members: list[Member], todo: list[str], resumed: dict[str, Any] | None) -> Failures:
    """Train members; what goes wrong is theirs alone."""
    try:
        failures = work.train(members, todo, resumed)
    except Leave:
        raise
    except Exception as error:
        # Workers of one training must fail together, or some would wait for the others.
        if work.world > 1:
            raise
        failures = {name: last_line(error) for name, _ in members if name in todo}
    if work.world > 1:
        barrier()
    return failures


@dataclass
class _Work:
    """A run on this worker: where it reads and writes, and what it has read."""

    config: dict[str, Any]

    def __post_init__(self) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.store, self.dataset = Store(self.config["storage"]), self.config["dataset"]
        self.resources = Resources(**self.config["resources"])
        self.members: list[Member] = []
        for fingerprint, text in self.config["members"]:
            spec = parse_spec(text)
            assert isinstance(spec, TrainableSpec)
            self.members.append((fingerprint, spec))
        self.samples: Samples = load_samples(self.store, self.dataset)
        self.about = catalog.dataset(self.dataset)
        minutes = self.resources.checkpoint_minutes
        self.watch = Watch(self.config["board"], self.rank, self.world, minutes)

    @cached_property
    def feeding(self) -> Feeding:
        device = torch.device("cpu")
        if self.resources.gpus_per_worker > 0:
            from ray.train.torch import get_device

            # Ray shows a worker all GPUs of its machine's workers, and says which is its own.
            device = get_device()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return Feeding(device, self.resources.cpus_per_worker - 1, self.resources.image_memory_gib * GIB)

    @cached_property
    def data(self) -> RunData:
        return RunData(self.store, self.samples, self.feeding)

    def steps(self, spec: TrainableSpec) -> int:
        """Batches in an epoch of a member."""
        return EpochPlan(spec.recipe, spec.seed, self.data.classes(spec), len(self.about.class_names)).steps

    def finish(self, todo: list[str]) -> Failures:
        """Write the logits of members whose weights are published; they leave `todo`."""
        failures: Failures = {}
        trained = set(todo) & all_trained(self.store, self.dataset)
        if self.world > 1:
            trained = broadcast_from_rank_zero(trained)
        for fingerprint, spec in self.members:
            if fingerprint not in trained:
                continue
            todo.remove(fingerprint)
            try:
                if self.rank == 0:
                    network = load_checkpoint(self.store, self.dataset, fingerprint)
                    self.publish(fingerprint, spec, network, None)
            except Ig3dError as error:
                failures[fingerprint] = last_line(error)
        return failures

    def train(self, members: Sequence[Member], todo: Sequence[str], resumed: dict[str, Any] | None) -> Failures:
        """Train a cohort, or one member, and publish those that are wanted."""
        if len(members) == 1:
            return self._train_alone(*members[0], resumed)
        return self._train_cohort(members, todo, resumed)

    def trainer(self, spec: TrainableSpec, stage: int) -> Trainer:
        """One stage of a member's training, its network new."""
        torch.manual_seed(spec.seed)
        network = build_network(spec, self.about, stage).to(self.feeding.device)
        worker = Worker()
        if self.world > 1:
            wrap = torch.nn.parallel.DistributedDataParallel
            worker = Worker(self.rank, self.world, wrap, lambda score: float(broadcast_from_rank_zero(score)))
        return Trainer(
            network=network,
            train=self.data.labelled(spec, "train"),
            dev=self.data.labelled(spec, "dev"),
            stage=spec.stages[stage],
            seed=spec.seed,
            classes=len(self.about.class_names),
            monitor=spec.monitor,
            attention=getattr(spec, "attention", "none"),
            groups=parameter_groups(spec),
            worker=worker,
            compiled=self.resources.compile == "images" and "image" in spec.features,
        )

    def _train_alone(self, fingerprint: str, spec: TrainableSpec, resumed: dict[str, Any] | None) -> Failures:
        """All stages of one member; published by rank 0."""
        started = time.monotonic()
        first = resumed["stage"] if resumed else 0
        history: list[HistoryRow] = list(resumed["earlier"]) if resumed else []
        network: Standardised | None = None
        for stage in range(first, len(spec.stages)):
            trainer = self.trainer(spec, stage)
            if network is not None:
                carry_over(network, trainer.network)
            elif stage == 0:
                self._start_from(spec, trainer.network)
            network = trainer.network
            state = resumed["state"] if resumed and stage == first else None
            try:
                history = self._stage(fingerprint, spec, stage, trainer, history, state)
            except Ig3dError as error:
                if self.world > 1 and not isinstance(error, NonFiniteLoss):
                    # One worker's broken picture: the others wait for its gradients, so all must go down.
                    raise
                if self.rank == 0:
                    publish_failed(self.store, self.dataset, fingerprint, spec, network, last_line(error))
                return {fingerprint: last_line(error)}
            # Its data go before the next stage's come.
            del trainer
        assert network is not None
        if self.rank == 0:
            self.publish(fingerprint, spec, network, history, None if resumed else time.monotonic() - started)
        return {}

    def _stage(
        self,
        fingerprint: str,
        spec: TrainableSpec,
        stage: int,
        trainer: Trainer,
        earlier: list[HistoryRow],
        state: dict[str, Any] | None,
    ) -> list[HistoryRow]:
        """One stage's training, reported epoch by epoch: the history so far."""
        content = {"members": [fingerprint], "called": spec.name, "stage": stage, "earlier": earlier}
        self._tell_resumed(spec.name, state)

        def on_epoch(epoch: Epoch, current: Callable[[], State]) -> None:
            self._tell(spec, epoch, stage)
            self._after(self.watch.after_epoch(), content, current)

        def on_step(current: Callable[[], State]) -> None:
            if self.rank == 0 and self.watch.is_time_for_news():
                news = {"member": spec.name, "steps": trainer.plan.steps, "epochs": trainer.recipe.epochs}
                self.config["board"].post.remote(news | _where(current()))
            self._after(self.watch.after_step(), content, current)

        rows = trainer.run(on_epoch, state, on_step)
        return earlier + [row | {"stage": stage + 1} for row in rows]

    def _start_from(self, spec: TrainableSpec, network: Standardised) -> None:
        name = getattr(spec, "start_from", None)
        if name is not None:
            start_from(network, read_weights(self.store, name), f"weights {name}")

    def _train_cohort(self, members: Sequence[Member], todo: Sequence[str], resumed: dict[str, Any] | None) -> Failures:
        started = time.monotonic()
        trainers = [self.trainer(spec, 0) for _, spec in members]
        names = [fingerprint for fingerprint, _ in members]

        called = members[0][1].name + (f" and {len(members) - 1} more" if len(members) > 1 else "")
        content = {"members": names, "called": called}
        self._tell_resumed(called, resumed["state"] if resumed else None)

        def on_epoch(epochs: dict[int, Epoch], current: Callable[[], State]) -> None:
            for index, epoch in epochs.items():
                self._tell(members[index][1], epoch, 0)
            word = self.watch.after_epoch()
            # Killed among its members' publishing, it must not train those that are left without the others: they
            # would come out with other last digits.
            is_over = len(members) > 1 and not current()["active"]
            self._after("checkpoint" if word == "go on" and is_over else word, content, current)

        failures: Failures = {}
        state = resumed["state"] if resumed else None
        ended = CohortTrainer(trainers).run(on_epoch, state, self._on_step(content))
        each = None if resumed else (time.monotonic() - started) / len(members)
        for (fingerprint, spec), trainer, end in zip(members, trainers, ended, strict=True):
            if fingerprint not in todo:
                continue
            if end.error is not None:
                publish_failed(self.store, self.dataset, fingerprint, spec, trainer.network, str(end.error))
                failures[fingerprint] = str(end.error)
                continue
            try:
                self.publish(fingerprint, spec, trainer.network, [row | {"stage": 1} for row in end.history], each)
            except Ig3dError as error:
                failures[fingerprint] = last_line(error)
        return failures

    def publish(
        self,
        fingerprint: str,
        spec: TrainableSpec,
        network: Standardised,
        history: list[HistoryRow] | None,
        seconds: float | None = None,
    ) -> None:
        """Weights and logits of a member whose training is over, and what it took if all of it was here."""
        events = self.resources.events == "tensorboard"
        size = publish(self.store, self.samples, fingerprint, spec, network, history, self.feeding, events)
        timing = None
        if seconds is not None and history:
            most = sum(stage.recipe.epochs for stage in spec.stages)
            samples = len(self.data.classes(spec))
            timing = Timing(
                network=network_of(spec),
                device=_device_name(self.feeding.device),
                samples=samples,
                epochs=len(history),
                most=most,
                seconds=seconds,
            ).model_dump()
        self.config["board"].post.remote({"member": spec.name, "cached": True, "bytes": size, "timing": timing})

    def _tell(self, spec: TrainableSpec, epoch: Epoch, stage: int) -> None:
        if self.rank == 0:
            news = {"member": spec.name, "epochs": spec.stages[stage].recipe.epochs, "best": epoch.best_score}
            self.config["board"].post.remote(_numbers(epoch) | news)
            self.watch.told()

    def _on_step(self, content: State) -> OnStep:
        return lambda current: self._after(self.watch.after_step(), content, current)

    def _after(self, word: Word, content: State, current: Callable[[], State]) -> None:
        """Do as the watch says.

        Raises:
            Leave: the state is written, and this is not the place to go on.
        """
        if word == "go on":
            return
        self._write(content, current)
        if word != "checkpoint":
            if self.rank == 0:
                news = {"member": content["called"], "left": word} | _where(current())
                self.config["board"].post.remote(news)
            raise Leave(word)

    def _write(self, content: State, current: Callable[[], State]) -> None:
        """Give Ray Train what the training goes on from; all workers do, rank 0 with the state."""
        started = time.monotonic()
        if self.rank > 0:
            ray.train.report({})
        else:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / STATE_FILE).write_bytes(to_bytes(content | {"state": current()}))
                name = f"{content['members'][0]}-{uuid.uuid4().hex[:12]}"
                ray.train.report({}, checkpoint=Checkpoint.from_directory(folder), checkpoint_dir_name=name)
        self.watch.written(time.monotonic() - started)

    def _tell_resumed(self, called: str, state: State | None) -> None:
        if self.rank == 0 and state is not None:
            self.config["board"].post.remote({"member": called, "resumed": True} | _where(state))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _where(state: State) -> dict[str, int]:
    """How far a training is: the epoch it is in, and the steps of it that are done."""
    progress = state["progress"] if isinstance(state["progress"], list) else [state["progress"]]
    within = state["within"]
    return {"epoch": 1 + max(len(p["history"]) for p in progress), "step": within["step"] if within else 0}


def _numbers(epoch: Epoch) -> dict[str, float]:
    return {"epoch": epoch.number, "loss": epoch.loss, "score": epoch.score}


def _last_state() -> dict[str, Any] | None:
    """The state at the last epoch that Ray Train has registered, of whichever members it was."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        path = Path(folder) / STATE_FILE
        return from_bytes(path.read_bytes(), str(path))


def last_line(error: Exception) -> str:
    """One line of an error, whose message may hold the traceback of another process."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    last = lines[-1].removeprefix("ig3d_ray.errors.Ig3dError: ")
    return last if isinstance(error, Ig3dError) else f"{type(error).__name__}: {last}"
