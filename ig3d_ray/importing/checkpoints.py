"""Published checkpoints as members: read without running code, published with their logits."""

import hashlib
import io
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.logits import LogitStore
from ig3d_ray.importing.identify import ClassOrder, Identified, VaOrder, Weights, identify
from ig3d_ray.models.archive import check_archive
from ig3d_ray.models.checkpoint import save_checkpoint, to_bytes
from ig3d_ray.models.inference import logit_table
from ig3d_ray.models.inputs import Feeding
from ig3d_ray.models.spec import Origin, fingerprint, spec_json
from ig3d_ray.storage import paths
from ig3d_ray.storage.json_files import sealed
from ig3d_ray.storage.local_files import read_regular
from ig3d_ray.storage.store import Store
from ig3d_ray.types import SPLITS, Task

WRAPPERS = ("model_state_dict", "state_dict")


@dataclass(frozen=True)
class Brought:
    """The result of an import of a checkpoint.

    Attributes:
        identified: the network.
        written: split -> samples.
        scores: split -> metrics, where there are labels.
    """

    identified: Identified
    written: dict[str, int]
    scores: dict[str, dict[str, float]]


def read_state_dict(file: Path) -> tuple[Weights, str]:
    """A published file's tensors by name, and the file's SHA-256.

    Raises:
        Ig3dError: the file is missing or broken, or holds a pickled module, whose loading would run code.
    """
    try:
        data = read_regular(file)
        check_archive(data, str(file), "fetch it again")
        content: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except OSError as error:
        raise Ig3dError(f"{file}: cannot be read ({error.strerror})") from error
    except pickle.UnpicklingError as error:
        way_out = "where its code is, save its weights alone: torch.save(model.state_dict(), 'weights.pt')"
        raise Ig3dError(
            f"{file}: not weights alone but pickled objects, whose loading would run code; {way_out}"
        ) from error
    except Ig3dError:
        raise
    except Exception as error:  # of many types, as the file has it
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Ig3dError(f"{file}: not a whole checkpoint ({reason[:100]}); fetch it again") from error
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content or not all(torch.is_tensor(v) for v in content.values()):
        raise Ig3dError(f"{file}: holds no state dict; known are bare ones and those under {' or '.join(WRAPPERS)}")
    if all(name.startswith("module.") for name in content):
        content = {name.removeprefix("module."): value for name, value in content.items()}
    return content, hashlib.sha256(data).hexdigest()


def import_checkpoint(
    store: Store,
    file: Path,
    kind: str,
    dataset: str,
    name: str,
    class_order: ClassOrder | None = None,
    va_order: VaOrder | None = None,
    replace: bool = False,
) -> Brought:
    """Publish a checkpoint as a member and write its logits on every split that has its inputs.

    Raises:
        Ig3dError: the checkpoint or the data set is invalid; nothing is written in this case.
    """
    weights, digest = read_state_dict(file)
    found = identify(weights, kind, dataset, Origin(name=name, sha256=digest), class_order, va_order)
    spec = found.spec
    samples = load_samples(store, dataset, only=spec.features)
    member, logits = fingerprint(dataset, samples.fingerprint, spec), LogitStore(store)
    for card in logits.members(dataset):
        taken = card.fingerprint == member and card.spec != spec_json(spec) and not replace
        if taken or (card.name == name and card.fingerprint != member):
            raise Ig3dError(f"{file}: there is a member {name} already; give another --name, or --replace")
    tables = []
    for split in SPLITS:
        part = samples.in_split(split)
        for feature in spec.features:
            part = part.with_feature(feature)
        if split != "train" and len(part):
            tables.append(logit_table(found.network, spec, member, samples, split, store, Feeding()))
    if not tables:
        raise Ig3dError(
            f"{dataset}: no dev or test sample has {' and '.join(spec.features)}, which {name} takes as input"
        )
    save_checkpoint(store, dataset, member, spec, found.network)
    store.write(paths.member_spec(dataset, member), sealed(json.loads(spec_json(spec))).encode())
    scores: dict[str, dict[str, float]] = {}
    for table in tables:
        logits.write(table)
        scores[table.split] = _scores(samples, table.ids, table.logits, table.va)
    return Brought(found, {table.split: len(table.ids) for table in tables}, scores)


def import_weights(store: Store, file: Path, name: str) -> int:
    """Publish a state dict for networks to start from (`start_from: name`): the number of its tensors.

    A member's spec has the name, so a name always means the same weights.

    Raises:
        Ig3dError: the file can't be read, or other weights have this name.
    """
    weights, _ = read_state_dict(file)
    place, data = paths.start_weights(name), to_bytes(dict(weights))
    if store.exists(place) and store.read(place) != data:
        raise Ig3dError(f"{store.locate(place)}: other weights have this name; give another --name")
    store.write(place, data)
    return len(weights)


def _scores(samples: Samples, ids: np.ndarray, logits: np.ndarray | None, va: np.ndarray | None) -> dict[str, float]:
    """Accuracy and CCC on the samples that have labels."""
    place = {sample_id: row for row, sample_id in enumerate(samples.ids.tolist())}
    rows = np.array([place[sample_id] for sample_id in ids.tolist()])
    labels, truth, found = samples.expression[rows], samples.va[rows], {}
    if logits is not None and (labels >= 0).any():
        found["accuracy"] = metrics.score(Task.EXPRESSION, logits[labels >= 0], labels[labels >= 0])["accuracy"]
    known = ~np.isnan(truth).any(axis=1)
    if va is not None and known.sum() > 1:
        found["ccc_mean"] = metrics.score(Task.VA, va[known], truth[known])["ccc_mean"]
    return found
