"""A small trained world without a cluster: drawn faces, SMIRK's parameters of their images, an ensemble."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.data import datasets
from ig3d_ray.data.images import ImageSet
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.data.synthetic.faces import make_faces
from ig3d_ray.ensembles.export import _encoders, _member
from ig3d_ray.ensembles.fallbacks import build_fallbacks
from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.models.build import build_network
from ig3d_ray.models.face3d.encoders import SmirkEncoder
from ig3d_ray.models.face3d.extraction import Extraction, PieceWorker, bring_encoder
from ig3d_ray.models.inputs import Feeding, member_inputs, member_samples
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import TrainedSpec, fingerprint
from ig3d_ray.search.scoring import Result
from ig3d_ray.storage.store import Store
from ig3d_ray.training.cohort import CohortTrainer, cohorts
from ig3d_ray.training.publish import publish
from ig3d_ray.training.run_data import RunData
from ig3d_ray.training.runs import Run
from ig3d_ray.training.state import HistoryRow
from ig3d_ray.training.trainer import Labeled, Trainer
from ig3d_ray.workflow.inventory import load_pools, take_inventory
from ig3d_ray.workflow.pipeline import Outcome, search_store
from ig3d_ray.workflow.progress import Reporter

QUICK = {"epochs": 12, "patience": 12, "base_lr": 1e-4, "max_lr": 1e-2, "batch_size": 16}
VA = {"va_terms": "fixed"}
POOL = [
    {"kind": "cnn", "width": 4, "image_size": 32, "recipe": QUICK, "loss": VA},
    {"kind": "cnn", "width": 6, "image_size": 48, "recipe": QUICK, "loss": VA},
    {"kind": "mlp3d", "representation": "smirk", "subset": "full", "width": 16, "recipe": QUICK, "loss": VA},
    {"kind": "mlp3d", "representation": "emoca", "subset": "short", "width": 16, "recipe": QUICK, "loss": VA},
]
WEIGHTS = (0.5, 0.25, 0.75, 1.0)


@dataclass(frozen=True)
class World:
    """A store with samples and members.

    Attributes:
        found: what a search over its members found, for expressions. va: the same of two for valence and arousal.
        spec: an ensemble of all four members with `WEIGHTS`, whatever the search liked best, published at `uri`.
    """

    store: Store
    samples: Samples
    space: SearchSpace
    found: Outcome
    va: Outcome
    spec: EnsembleSpec

    @property
    def uri(self) -> str:
        return f"{self.store.uri}/searches/faces/all/best_ensemble.json"

    def images(self, split: str = "test") -> tuple[list[str], list[bytes]]:
        """Ids and encoded images of the samples of a split that have everything."""
        part = self.samples.in_split(split)
        for feature in ("image", "smirk", "emoca"):
            part = part.with_feature(feature)
        images = ImageSet(self.store, part, 32)
        return images.ids, [images.encoded(row)[0] for row in range(len(images))]


def smirk_checkpoint(folder: Path) -> Path:
    """SMIRK's encoder with random weights, as its file is published."""
    torch.manual_seed(0)
    weights = {f"smirk_encoder.{name}": value for name, value in SmirkEncoder().state_dict().items()}
    file = folder / "SMIRK_em1.pt"
    torch.save(weights, file)
    return file


def trainer_of(store: Store, samples: Samples, spec: TrainedSpec) -> Trainer:
    """The trainer of a member's first stage, its network untrained."""
    torch.manual_seed(spec.seed)
    data = []
    for split in ("train", "dev"):
        chosen = member_samples(spec, samples, split)
        x = member_inputs(spec, chosen, store)
        data.append(Labeled(x, torch.from_numpy(chosen.expression), torch.from_numpy(chosen.va)))
    network = build_network(spec, datasets.dataset("faces"))
    return Trainer(network, data[0], data[1], spec.stages[0], spec.seed, 7, spec.monitor)


def quickly_trained(store: Store, samples: Samples, spec: TrainedSpec) -> tuple[Standardized, list[HistoryRow]]:
    trainer = trainer_of(store, samples, spec)
    history = trainer.run(lambda epoch, state: None)
    return trainer.network, history


def train_without_ray(store: Store, samples: Samples, run: Run, cohort: int = 1) -> None:
    """Train and publish the members of a run of one stage each, in this process, as one worker would."""
    torch.set_num_threads(1)
    data = RunData(store, samples, Feeding())
    groups = cohorts(run.members, lambda spec: 0, cohort)
    for group in groups:
        trainers = []
        for _, spec in group:
            torch.manual_seed(spec.seed)
            network = build_network(spec, datasets.dataset("faces"))
            train, dev = (data.labeled(spec, split) for split in ("train", "dev"))
            trainers.append(Trainer(network, train, dev, spec.stages[0], spec.seed, 7, spec.monitor))
        if len(group) == 1:
            histories = [trainers[0].run(lambda epoch, state: None)]
        else:
            histories = [end.history for end in CohortTrainer(trainers).run(lambda epochs, state: None)]
        for (mark, spec), trainer, history in zip(group, trainers, histories, strict=True):
            rows = [row | {"stage": 1} for row in history]
            publish(store, samples, mark, spec, trainer.network, rows, Feeding())


def all_members(store: Store, space: SearchSpace, found: Outcome, weights: tuple[float, ...]) -> EnsembleSpec:
    """A found spec with all the members of its space in it."""
    inventory = take_inventory(store, space)
    pools, cards = load_pools(store, space, inventory.usable(space.protocol.splits))
    members = tuple(_member(store, space, card) for card in cards)
    fusion = Fusion(strategy="weighted", space="logits", weights=weights)
    chosen = Result(found.board.chosen.result.candidate, tuple(m.name for m in members), fusion, 0.0)
    update: dict[str, Any] = {"members": members, "fusion": fusion}
    update["fallbacks"] = build_fallbacks(space, pools[space.protocol.choose_on], chosen, members)
    update["encoders"] = _encoders(store, space.dataset, members, fusion)
    return found.spec.model_copy(update=update)


def spaces() -> tuple[SearchSpace, SearchSpace]:
    """For expressions, and for valence and arousal."""
    fusion = {"strategies": ["mean", "weighted"], "spaces": ["logits", "probabilities"]}
    content = {"dataset": "faces", "objective": "accuracy", "pool": POOL, "fusion": fusion, "search": {"budget": 20}}
    va = content | {"objective": "ccc_mean", "fusion": {}, "protocol": {"kind": "cross_fitted"}, "pool": POOL[1:3]}
    return SearchSpace.model_validate(content), SearchSpace.model_validate(va)


def make_world(folder: Path) -> None:
    """Draw the faces, extract SMIRK's parameters and train the members, in a new folder."""
    folder.mkdir(parents=True)
    store = Store(str(folder / "store"))
    samples = make_faces(store, samples=240, seed=3)
    record = bring_encoder(store, "smirk", smirk_checkpoint(folder), None)
    extraction = Extraction.of(store, samples, "smirk", record)
    work = PieceWorker(extraction)
    for piece in extraction.missing():
        work(piece)
    extraction.publish(samples)
    samples = load_samples(store, "faces")
    for space in spaces():
        for spec in space.trainable():
            network, history = quickly_trained(store, samples, spec)
            publish(store, samples, fingerprint("faces", samples.fingerprint, spec), spec, network, history, Feeding())


def open_world(folder: Path) -> World:
    """Search over the members of a folder that `make_world` made."""
    store = Store(str(folder / "store"))
    samples = load_samples(store, "faces")
    space, va_space = spaces()
    found = search_store(store, space, "small", Reporter())
    va = search_store(store, va_space, "va", Reporter())
    world = World(store, samples, space, found, va, all_members(store, space, found, WEIGHTS))
    store.write("searches/faces/all/best_ensemble.json", world.spec.to_json().encode())
    return world
