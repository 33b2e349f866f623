"""A run on one worker: the data that it reads, its trainings, and what it publishes."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ray
import ray.train
import torch
from ray.train.collective import broadcast_from_rank_zero

from ig3d_ray.config.resources import Resources
from ig3d_ray.data import datasets
from ig3d_ray.data.declared import use_declarations
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.build import build_network
from ig3d_ray.models.checkpoint import load_checkpoint, read_weights
from ig3d_ray.models.initial_weights import start_from
from ig3d_ray.models.inputs import GIB, Feeding
from ig3d_ray.models.registry import parse_trained_spec
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import TrainedSpec
from ig3d_ray.on_ray.news import News
from ig3d_ray.on_ray.watch import Watch
from ig3d_ray.storage.store import Store
from ig3d_ray.training.cost_model import Timing
from ig3d_ray.training.publish import publish, publish_failed
from ig3d_ray.training.run_data import RunData
from ig3d_ray.training.runs import all_trained
from ig3d_ray.training.sampling import EpochPlan
from ig3d_ray.training.state import HistoryRow
from ig3d_ray.training.trainer import Trainer, Worker

Member = tuple[str, TrainedSpec]
Failures = dict[str, str]


@dataclass
class Work:
    """A run on this worker: where it reads and writes, and what it has read."""

    config: dict[str, Any]

    def __post_init__(self) -> None:
        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.store, self.dataset = Store(self.config["storage"]), self.config["dataset"]
        self.resources = Resources(**self.config["resources"])
        use_declarations(self.store)
        self.members: list[Member] = [(mark, parse_trained_spec(text)) for mark, text in self.config["members"]]
        self.about = datasets.dataset(self.dataset)
        features = {feature for _, spec in self.members for feature in spec.features}
        self.samples: Samples = load_samples(self.store, self.dataset, only=features)
        minutes = self.resources.checkpoint_minutes
        self.watch = Watch(self.config["board"], self.rank, self.world, minutes)
        self.news = News(self.config["board"], self.rank)

    @cached_property
    def feeding(self) -> Feeding:
        """How inputs reach the networks: the worker's device, and the processes that decode images."""
        device = torch.device("cpu")
        if self.resources.gpus_per_worker > 0:
            from ray.train.torch import get_device

            # Ray shows a worker all GPUs of its machine's workers, and which is its own.
            device = get_device()
        if device.type == "cuda":
            torch.cuda.set_device(device)
        return Feeding(device, self.resources.cpus_per_worker - 1, self.resources.image_memory_gib * GIB)

    @cached_property
    def data(self) -> RunData:
        """The data of the run's members."""
        return RunData(self.store, self.samples, self.feeding)

    def steps(self, spec: TrainedSpec) -> int:
        """Batches in an epoch of a member."""
        return EpochPlan(spec.recipe, spec.seed, self.data.classes(spec), len(self.about.class_names)).steps

    def given_up(self) -> Failures:
        """The members of this run that could not be trained before its workers were started again."""
        message: Failures = ray.get(self.config["board"].given_up.remote())
        return {fingerprint: message[fingerprint] for fingerprint, _ in self.members if fingerprint in message}

    def give_up(self, failures: Failures) -> None:
        """Report members that can't be trained to the driver, before anything else."""
        ray.get(self.config["board"].give_up.remote(failures))

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

    def trainer(self, spec: TrainedSpec, stage: int) -> Trainer:
        """One stage of a member's training, its network new."""
        torch.manual_seed(spec.seed)
        network = build_network(spec, self.about, stage).to(self.feeding.device)
        worker = Worker()
        if self.world > 1:
            wrap = torch.nn.parallel.DistributedDataParallel
            worker = Worker(self.rank, self.world, wrap, lambda score: float(broadcast_from_rank_zero(score)))
        return Trainer(
            network=network,
            train=self.data.labeled(spec, "train"),
            dev=self.data.labeled(spec, "dev"),
            stage=spec.stages[stage],
            seed=spec.seed,
            classes=len(self.about.class_names),
            monitor=spec.monitor,
            attention=spec.head_attention,
            groups=spec.parameter_groups,
            worker=worker,
            compiled=self.resources.compile == "images" and "image" in spec.features,
        )

    def start_from(self, spec: TrainedSpec, network: Standardized) -> None:
        """Put the weights that a member starts from into its network, if there are any."""
        name = spec.initial_weights
        if name is not None:
            start_from(network, read_weights(self.store, name), f"weights {name}")

    def publish(
        self,
        fingerprint: str,
        spec: TrainedSpec,
        network: Standardized,
        history: list[HistoryRow] | None,
        seconds: float | None = None,
    ) -> None:
        """Publish weights and logits of a finished member, and the duration if all of its training was here."""
        events = self.resources.events == "tensorboard"
        size = publish(self.store, self.samples, fingerprint, spec, network, history, self.feeding, events)
        timing = None
        if seconds is not None and history:
            timing = Timing(
                network=spec.cost_key,
                device=_device_name(self.feeding.device),
                samples=len(self.data.classes(spec)),
                epochs=len(history),
                most=sum(stage.recipe.epochs for stage in spec.stages),
                seconds=seconds,
            )
        self.news.cached(spec.name, size, timing)

    def failed(self, fingerprint: str, spec: TrainedSpec, network: Standardized, message: str) -> Failures:
        """Record in the storage why a member could not be trained, with its last valid weights."""
        if self.rank == 0:
            publish_failed(self.store, self.dataset, fingerprint, spec, network, message)
        return {fingerprint: message}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def last_line(error: Exception) -> str:
    """One line of an error, whose message may hold the traceback of another process."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    last = lines[-1].removeprefix("ig3d_ray.errors.Ig3dError: ")
    return last if isinstance(error, Ig3dError) else f"{type(error).__name__}: {last}"
