"""Predictions of an exported ensemble for images outside any data set: encoders, members, fusion, batch by batch.

The spec, the files that it names and torch are enough; Ray is not needed.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from ig3d_ray.data.declared import use_declarations
from ig3d_ray.data.encoder_record import EncoderRecord
from ig3d_ray.data.images import DECODING_THREADS
from ig3d_ray.data.representations import width_of
from ig3d_ray.data.samples import Samples
from ig3d_ray.ensembles.from_tables import Table, fused_frame, predict_from
from ig3d_ray.ensembles.inputs import ImageLike, Item, decoded, encoded, items_of, read_item
from ig3d_ray.ensembles.parameters import Parameters, parameters_of
from ig3d_ray.ensembles.spec import EnsembleMember, EnsembleSpec, Fallback, read_ensemble, storage_of
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.logits import LogitTable
from ig3d_ray.models.checkpoint import load_checkpoint
from ig3d_ray.models.face3d.extraction import Extractor
from ig3d_ray.models.inference import logit_table, network_scores
from ig3d_ray.models.inputs import Inputs
from ig3d_ray.models.registry import has_network
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import IMAGE, PREDICTIONS, ImageInput, Input
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split

logger = logging.getLogger(__name__)

Missing = Literal["fail", "skip", "fallback"]
MISSING: tuple[Missing, ...] = ("fail", "skip", "fallback")
BATCH = 64
NOT_FINITE = "the networks' outputs for it are not finite; check that its parameters come from the encoder"


@dataclass(frozen=True)
class Batch:
    """The predictions of some images.

    Attributes:
        frame: one row per predicted image.
        excluded: (name, reason) of the others.
    """

    frame: pd.DataFrame
    excluded: list[tuple[str, str]]


class Ensemble:
    """An ensemble with its networks and encoders loaded.

    Args:
        spec: the exported one.
        store: where the files that it names are stored.
        device: of the networks; a GPU if there is one.

    Raises:
        Ig3dError: a checkpoint is missing, broken, or not the one that was scored.
    """

    def __init__(self, spec: EnsembleSpec, store: Store, device: str | None = None) -> None:
        use_declarations(store)
        self.spec = spec
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._specs = {m.name: m.parsed for m in spec.members}
        self._networks = {m.name: self._network(store, m) for m in spec.members if has_network(m.parsed)}
        self.store = store

    @cached_property
    def _extractors(self) -> dict[str, Extractor]:
        """The encoders, loaded when parameters are needed."""
        return {
            name: Extractor(self.store, name, EncoderRecord(**used.model_dump()), self.device)
            for name, used in self.spec.encoders.items()
        }

    def _network(self, store: Store, member: EnsembleMember) -> Standardized:
        network = load_checkpoint(store, self.spec.dataset, member.fingerprint, member.checkpoint_sha256)
        return network.to(self.device)

    def predict_from(
        self,
        tables: Mapping[str, Table],
        skip_missing: bool = False,
        parameters: Mapping[str, Parameters] | None = None,
    ) -> pd.DataFrame:
        """Fuse the members' predictions on new samples; see `from_tables.predict_from`."""
        return predict_from(self.spec, tables, None, skip_missing, parameters)[0]

    @cached_property
    def features(self) -> tuple[str, ...]:
        """What it takes as input: `image`, `emoca`, `smirk`; `predictions` if a member was imported as such."""
        return self.spec.features

    @cached_property
    def representations(self) -> tuple[str, ...]:
        """The representations among its inputs."""
        return tuple(name for name in self.features if name not in (IMAGE, PREDICTIONS))

    def network(self, member: str) -> Standardized:
        """A member's network, in evaluation mode."""
        return self._networks[member]

    def encoder(self, representation: str) -> torch.nn.Module:
        """An encoder of the spec's."""
        return self._extractors[representation].network

    def split_outputs(self, samples: Samples, split: Split) -> dict[str, LogitTable]:
        """The outputs of each network on the samples of a split that have its inputs, by member.

        Args:
            samples: of the data set.
            split: which part of them.

        Raises:
            Ig3dError: no sample has a member's inputs, or an image can't be read.
        """
        found = {}
        for member in self.spec.members:
            spec = self._specs[member.name]
            if has_network(spec):
                network = self._networks[member.name]
                found[member.name] = logit_table(network, spec, member.fingerprint, samples, split, self.store)
        return found

    def prepared(
        self, images: Sequence[ImageLike], given: Mapping[str, np.ndarray]
    ) -> tuple[dict[int, np.ndarray], dict[str, np.ndarray]]:
        """The members' inputs for images: `[N, 3, size, size]` by size, and parameters by representation."""
        items = [read_item(name, content) for name, content in items_of(images)]
        names = [item.name for item in items]
        parameters = {name: parameters_of(names, values, name) for name, values in given.items()}
        by_size, why = self._images(items)
        vectors = {str(n): self._vectors(str(n), items, parameters, why) for n in self.representations}
        if why:
            raise Ig3dError(next(iter(why.values())))
        return by_size, vectors

    def predict(
        self,
        images: ImageLike | Sequence[ImageLike],
        missing: Missing = "fail",
        parameters: Mapping[str, np.ndarray | Parameters] | None = None,
    ) -> pd.DataFrame:
        """Predictions for images, aligned and cropped as the data set's are.

        Args:
            images: a folder, or one image or a list of images: files, encoded bytes, `[H, W, 3]` uint8 RGB arrays or
                Pillow images.
            missing: what to do where an input of a member is missing. `fail`: raise; `skip`: leave the
                image out; `fallback`: use the best fusion of the other members, which the spec contains.
            parameters: representation -> `[N, W]` in the images' order, a row of NaN for none; for those that the
                spec has no encoder for.

        Returns:
            A row for each predicted image: `sample_id`, `predicted` and `probability_<class>`, or `valence` and
            `arousal`; and `missing`, the missing inputs, if any. Images without names are numbered from 0. Those that
            were left out are in `attrs["excluded"]`, name -> reason.

        Raises:
            Ig3dError: under `fail`, an input is missing; there are no images, or none could be predicted; parameters
                have the wrong width.
        """
        items = items_of(images)
        names = [name for name, _ in items]
        given: dict[str, Parameters] = {}
        for representation, values in (parameters or {}).items():
            if isinstance(values, Parameters):
                values.check(names)
                given[representation] = values
            else:
                given[representation] = parameters_of(names, values, representation)
        batches = list(self.stream((read_item(name, content) for name, content in items), missing, given))
        excluded = [one for batch in batches for one in batch.excluded]
        if len(excluded) == len(items):
            raise Ig3dError(f"none of {len(items)} images could be predicted; {excluded[0][0]}: {excluded[0][1]}")
        frame = pd.concat([batch.frame for batch in batches], ignore_index=True)
        frame.attrs["excluded"] = dict(excluded)
        return frame

    def stream(
        self, items: Iterable[Item], missing: Missing = "fail", given: Mapping[str, Parameters] | None = None
    ) -> Iterator[Batch]:
        """Predictions batch by batch, in the items' order; only one batch at a time is in memory."""
        if missing not in MISSING:
            raise Ig3dError(f"missing {missing!r}: allowed: {', '.join(MISSING)}")
        waiting, done = iter(items), 0
        while batch := list(islice(waiting, BATCH)):
            logger.debug("predict: %d images done", done)
            yield self._batch(batch, missing, given or {})
            done += len(batch)

    def _batch(self, items: list[Item], missing: Missing, given: Mapping[str, Parameters]) -> Batch:
        images, why = self._images(items)
        vectors = {str(name): self._vectors(str(name), items, given, why) for name in self.representations}
        lacks = [tuple(f for f in self.features if (f, row) in why or f == PREDICTIONS) for row in range(len(items))]
        frames, excluded = [], []
        for lacking in dict.fromkeys(lacks):
            rows = [row for row, found in enumerate(lacks) if found == lacking]
            reasons = [self._reason(row, lacking, why) for row in rows]
            if lacking and missing == "fail":
                raise Ig3dError(f"{items[rows[0]].name}: {reasons[0]}; choose what to do: --missing skip or fallback")
            fallback = self.spec.fallback(lacking) if lacking else None
            if lacking and (missing == "skip" or fallback is None):
                excluded += [(items[row].name, reason) for row, reason in zip(rows, reasons, strict=True)]
                continue
            fused = self._fused(rows, images, vectors, fallback)
            finite = np.isfinite(fused).all(axis=1)
            unusable = [(items[row].name, NOT_FINITE) for row, good in zip(rows, finite, strict=True) if not good]
            if unusable and missing == "fail":
                raise Ig3dError(f"{unusable[0][0]}: {NOT_FINITE}")
            excluded += unusable
            rows = [row for row, good in zip(rows, finite, strict=True) if good]
            frames.append(self._frame([items[row].name for row in rows], rows, fused[finite], fallback, lacking))
        frame = pd.concat(frames) if frames else self._frame([], [], np.zeros((0, self._width)), None, ())
        return Batch(frame.sort_index().reset_index(drop=True), excluded)

    def _reason(self, row: int, lacking: tuple[str, ...], why: Mapping[tuple[str, int], str]) -> str:
        """Why what is missing is missing: each cause once, the image's first, which may be that of the others."""
        causes: dict[str, str] = {}
        for feature in sorted(lacking, key=lambda name: name != IMAGE):
            members = (member.name for member in self.spec.members if feature in member.features)
            unable = next(members, "the gate")
            cause = why.get((feature, row), "it was imported as predictions, so it has none for new images")
            causes.setdefault(cause, f"{unable} needs {feature}, which is missing ({cause})")
        return "; ".join(causes.values())

    def _sizes(self) -> set[int]:
        specs = [spec for spec in self._specs.values() if has_network(spec)]
        return {spec.image.size for spec in specs if spec.image is not None}

    def _images(self, items: list[Item]) -> tuple[dict[int, np.ndarray], dict[tuple[str, int], str]]:
        """size -> `[B, 3, size, size]` uint8, zeros where an image can't be read; and ("image", row) -> why not."""
        images = {size: np.zeros((len(items), 3, size, size), np.uint8) for size in self._sizes()}
        why: dict[tuple[str, int], str] = {}

        def put(row: int) -> None:
            try:
                for size, of_size in images.items():
                    of_size[row] = decoded(items[row], size)
                if not images:
                    decoded(items[row], 1)
            except Ig3dError as error:
                why["image", row] = str(error)

        with ThreadPoolExecutor(DECODING_THREADS) as pool:
            list(pool.map(put, range(len(items))))
        return images, why

    def _vectors(
        self, name: str, items: list[Item], given: Mapping[str, Parameters], why: dict[tuple[str, int], str]
    ) -> np.ndarray:
        """`[B, width]` parameters, given or from the encoder; adds (name, row) -> reason to `why`."""
        vectors = np.zeros((len(items), width_of(name)), np.float32)
        rows = []
        for row, item in enumerate(items):
            found = given[name].of(item.name) if name in given else None
            if found is None:
                rows.append(row)
            else:
                vectors[row] = found
        if rows and name in self._extractors:
            extract = self._extractors[name]
            vectors[rows], reasons = extract(lambda i: (encoded(items[rows[i]]), items[rows[i]].name), len(rows))
            why |= {(name, rows[i]): reason for i, reason in enumerate(reasons) if reason}
        elif rows:
            way_out = f"give --parameters {name}=PATH, or extract them with `ig3d extract` and search again"
            message = f"the spec has no encoder for them: {way_out}"
            why |= {(name, row): "no parameters of this name" if name in given else message for row in rows}
        return vectors

    def outputs(
        self, names: Collection[str], images: Mapping[int, np.ndarray], vectors: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """Members' outputs `[M, B, C]` or `[M, B, 2]` on images by size and parameters by representation."""
        found = []
        for name in names:
            spec = self._specs[name]
            assert has_network(spec)
            parts = [self._input(one, images, vectors) for one in spec.inputs]
            scores = network_scores(self._networks[name], Inputs(parts))
            classes = len(self.spec.class_names)
            found.append(scores[:, self.spec.task.columns(classes)])
        return np.stack(found)

    def _input(self, one: Input, images: Mapping[int, np.ndarray], vectors: Mapping[str, np.ndarray]) -> torch.Tensor:
        if isinstance(one, ImageInput):
            return torch.from_numpy(images[one.size]).to(self.device)
        return torch.from_numpy(vectors[one.representation][:, one.columns].copy()).to(self.device)

    @property
    def _width(self) -> int:
        return self.spec.task.width(len(self.spec.class_names))

    def _fused(
        self,
        rows: list[int],
        images: Mapping[int, np.ndarray],
        vectors: Mapping[str, np.ndarray],
        fallback: Fallback | None,
    ) -> np.ndarray:
        """`[rows, C]` or `[rows, 2]`."""
        names = fallback.members if fallback else tuple(member.name for member in self.spec.members)
        some = {size: of_size[rows] for size, of_size in images.items()}
        chosen = {name: of_name[rows] for name, of_name in vectors.items()}
        return (fallback or self.spec).fusion.apply(self.outputs(names, some, chosen), self.spec.task, chosen)

    def _frame(
        self,
        names: list[str],
        rows: list[int],
        fused: np.ndarray,
        fallback: Fallback | None,
        lacking: tuple[str, ...],
    ) -> pd.DataFrame:
        fusion = (fallback or self.spec).fusion
        frame = fused_frame(self.spec, fusion, names, fused)
        frame["missing"] = pd.array([", ".join(lacking)] * len(rows), dtype="string")
        return frame.set_index(pd.Index(rows))


def load_ensemble(uri: str | Path, storage: str | None = None, device: str | None = None) -> Ensemble:
    """Load an exported ensemble for prediction.

    Args:
        uri: of its `best_ensemble.json`.
        storage: where the files that it names are stored; by default the storage of the spec.
        device: `cpu`, `cuda` ...; a GPU if there is one.

    Raises:
        Ig3dError: the spec or one of its files is missing or broken; the spec was copied out of its storage, and
            `storage` is not given.
    """
    spec = read_ensemble(str(uri), storage)
    return Ensemble(spec, Store(storage or storage_of(str(uri))), device)
