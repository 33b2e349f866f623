"""The exported result: an ensemble, its scores, and how they were obtained."""

import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from ig3d_ray.config.protocol import ProtocolSpec
from ig3d_ray.data.declared import use_declarations
from ig3d_ray.ensembles.validity import check_spec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.bootstrap import Interval, McNemar
from ig3d_ray.evaluation.calibration import CalibrationScores
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.evaluation.scores import Optimism, Scored
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.models.registry import parse_spec
from ig3d_ray.models.spec import AnySpec, MemberName
from ig3d_ray.search.abstaining import Abstention
from ig3d_ray.search.subgroup_floor import FloorScores
from ig3d_ray.search.subgroups import Subgroups
from ig3d_ray.storage import paths
from ig3d_ray.storage.explain import first_error
from ig3d_ray.storage.json_files import SealError, sealed, unsealed
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Frozen, Split, Task, View

SCHEMA_VERSION = 2


class EnsembleMember(Frozen):
    """One member of an ensemble.

    `checkpoint` is relative to the storage, None for imported predictions. The hashes are SHA-256: of
    the checkpoint's bytes, and of the numbers in the logit tables that were scored, by split.
    """

    name: MemberName
    """Unique in the ensemble."""
    fingerprint: str
    """Names the member's files in the storage."""
    kind: str
    """Of its network, or `imported`."""
    view: View
    """What it takes as input."""
    spec: dict[str, Any]
    """Everything that decides its training, as its own file has it."""
    checkpoint: str | None
    """Of its weights, relative to the storage; None for imported predictions."""
    checkpoint_sha256: str | None
    """Of the checkpoint's bytes."""
    logits_sha256: dict[str, str]
    """Of the numbers in the logit tables that were scored, by split."""

    @model_validator(mode="after")
    def _is_known_here(self) -> "EnsembleMember":
        try:
            parse_spec(json.dumps(self.spec))
        except ValidationError as error:
            raise ValueError(f"spec of {self.name}: {first_error(error)}") from error
        except Ig3dError as error:
            raise ValueError(f"spec of {self.name}: {error}") from error
        return self

    @property
    def parsed(self) -> AnySpec:
        """The member's spec."""
        return parse_spec(json.dumps(self.spec))

    @property
    def features(self) -> tuple[str, ...]:
        """The columns of the samples table that it takes as input; `predictions` for imported predictions."""
        return self.parsed.features


class Compared(Scored):
    """A baseline, and the ensemble's paired gain over it on the report set."""

    label: str
    """The members, joined by ` + `."""
    gain: Interval
    """Of the ensemble over it, paired; positive is better."""
    mcnemar: McNemar | None = None
    """The ensemble first; for expressions."""


class Provenance(Frozen):
    """The provenance of a spec; it is the same for all runs with the same inputs and seed."""

    versions: dict[str, str]
    """Of the packages that affect the numbers."""
    seed: int
    """Of everything random."""
    search_space: str
    """The name of the search."""
    search_space_hash: str
    """Of everything in the search space that decides the search."""
    dataset_fingerprint: str
    """Of the samples table; empty where there is none."""
    samples_sha256: dict[Split, str]
    """Of the ids and labels that were compared on, by split."""
    candidates: int
    """How many were scored."""


class ParetoPoint(Frozen):
    """An ensemble on the Pareto front of objective and cost.

    `selection` is its score on the samples that chose it, so it is optimistic.
    """

    members: tuple[str, ...]
    """Of this ensemble."""
    fusion: Fusion
    """How they are combined."""
    cost: float
    """Its number of members, or the sum of their costs."""
    selection: float
    """Its score on the selection set, optimistic."""


class Fallback(Frozen):
    """The best fusion of the members whose inputs are available, if others' inputs are missing.

    `missing` are columns of the samples table (`image`, `emoca`, `smirk`), or `predictions` for imported members,
    which have no outputs for new samples. Chosen on the selection set, where `selection` is its score.
    """

    missing: tuple[str, ...]
    """The inputs that are missing."""
    members: tuple[str, ...]
    """Those that don't need them."""
    fusion: Fusion
    """How these are combined."""
    selection: float
    """Its score on the selection set."""


class UsedEncoder(Frozen):
    """The encoder that extracted the members' 3D parameters: names in the storage, and the SHA-256 of its weights."""

    weights: str
    """Name of its weights in the storage."""
    sha256: str
    """Of the weights."""
    landmarks: str | None
    """Name of the file that finds and aligns faces for it; None if it takes images as they are."""


class EnsembleSpec(Frozen):
    """`best_ensemble.json`."""

    schema_version: Literal[2] = 2
    """Of this file."""
    dataset: str
    """Whose classes and samples."""
    task: Task
    """What is predicted."""
    class_names: tuple[str, ...]
    """In the order of the outputs' columns; also of the data set, where valence and arousal are predicted."""
    objective: str
    """The metric that was searched for."""
    members: tuple[EnsembleMember, ...]
    """In the order of the weights."""
    fusion: Fusion
    """How their outputs are combined."""
    protocol: ProtocolSpec
    """Which samples chose and which report."""
    scores: Scored
    """Of the ensemble."""
    calibration: CalibrationScores | None = None
    """Of the probabilities on the report set; None for valence and arousal."""
    subgroups: tuple[Subgroups, ...] = ()
    """Its scores on the report set by each attribute of the samples, such as gender."""
    floor: FloorScores | None = None
    """Whether its worst subgroup reaches what was asked for."""
    abstention: Abstention | None = None
    """Where it abstains, if a bound of the error was asked for."""
    optimism: Optimism
    """Of the selection score."""
    pareto: tuple[ParetoPoint, ...]
    """Ascending in `cost`: the number of members, or that of `search.costs`; scored on the selection set."""
    compared_with: dict[str, Compared]
    """`best_single`, `best_2d` and `mean` (the plain mean of the same members)."""
    excluded: dict[Split, tuple[str, ...]]
    """Samples for which an output of some member of the pool is missing; nothing was compared on them."""
    fallbacks: tuple[Fallback, ...] = ()
    """For samples some of whose inputs are missing."""
    encoders: dict[str, UsedEncoder] = Field(default_factory=dict)
    """Of each representation that a member takes as input, where the parameters were extracted here."""
    provenance: Provenance
    """What the spec was made from."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "EnsembleSpec":
        check_spec(self)
        return self

    def to_json(self) -> str:
        """The spec as published: sorted keys, an indent of two spaces, the SHA-256 of the content among them."""
        return sealed(self.model_dump(mode="json"))

    @property
    def features(self) -> tuple[str, ...]:
        """What its members and its gate take as input: `image`, representations; `predictions` of imported members."""
        return tuple(sorted(self.fusion.features.union(*(member.features for member in self.members))))

    def fallback(self, missing: Collection[str]) -> Fallback | None:
        """The fallback for samples without these inputs; None if no member is left."""
        wanted = tuple(sorted(missing))
        return next((f for f in self.fallbacks if f.missing == wanted), None)

    def predict(self, pool: Pool) -> np.ndarray:
        """The fused outputs `[N, C]` of a pool that holds this ensemble's members, and a gate's parameters."""
        outputs = pool.outputs_of([member.name for member in self.members])
        return self.fusion.apply(outputs, self.task, pool.parameters)


def parse_ensemble(text: str, what: str) -> EnsembleSpec:
    """Read a published spec.

    Raises:
        Ig3dError: not JSON, another schema version, or a field is wrong; the message begins with `what`.
    """
    try:
        content = unsealed(text)
    except SealError as error:
        raise Ig3dError(f"{what}: {error}, or else run the search again to write it anew") from error
    except ValueError as error:
        raise Ig3dError(f"{what}: not JSON ({error}); run the search again to write it anew") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise Ig3dError(
            f"{what}: schema_version {version!r}; this version of ig3d reads {SCHEMA_VERSION}; search again"
        )
    try:
        return EnsembleSpec.model_validate(content)
    except ValidationError as error:
        raise Ig3dError(f"{what}: {first_error(error)[:200]}; run the search again to write it anew") from error


def read_ensemble(path: str, storage: str | None = None) -> EnsembleSpec:
    """A spec from a local file or any storage URI.

    Args:
        path: of its `best_ensemble.json`.
        storage: that has the declarations of its data set and representations; that of the spec by default.

    Raises:
        Ig3dError: it is missing or broken.
    """
    whole = path if "://" in path else str(Path(path).absolute())
    beside = storage or paths.storage_of_spec(whole)
    if beside is not None:
        use_declarations(Store(beside))
    folder, slash, file = path.rpartition("/")
    try:
        text = Store(folder or slash or ".").read(file).decode()
    except UnicodeDecodeError as error:
        raise Ig3dError(f"{path}: not a text file, so no spec; give a best_ensemble.json") from error
    return parse_ensemble(text, path)


def spec_digest(path: str) -> str:
    """The SHA-256 of a spec's file, which says which ensemble a service answers by.

    Args:
        path: of a `best_ensemble.json`, a local file or any storage URI.

    Raises:
        Ig3dError: it can't be read.
    """
    folder, slash, file = path.rpartition("/")
    return hashlib.sha256(Store(folder or slash or ".").read(file)).hexdigest()


def storage_of(uri: str) -> str:
    """The storage of a published spec.

    Raises:
        Ig3dError: it is not in a storage.
    """
    whole = uri if "://" in uri else str(Path(uri).absolute())
    storage = paths.storage_of_spec(whole)
    if storage is None:
        raise Ig3dError(f"{uri}: is not in a storage; give the storage of its members' checkpoints with --storage")
    return storage
