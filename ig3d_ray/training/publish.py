"""Results of a training: weights, history and logits of a finished member, or the reason for a failure."""

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ig3d_ray.data.samples import Samples
from ig3d_ray.evaluation.logits import LogitStore
from ig3d_ray.models.checkpoint import load_checkpoint, save_checkpoint
from ig3d_ray.models.inference import logit_table
from ig3d_ray.models.inputs import Feeding
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import TrainedSpec, spec_json
from ig3d_ray.storage import paths
from ig3d_ray.storage.json_files import sealed
from ig3d_ray.storage.parquet import table_to_bytes
from ig3d_ray.storage.store import Store
from ig3d_ray.training.runs import TRAINED_SPLITS
from ig3d_ray.training.state import HistoryRow


def publish(
    store: Store,
    samples: Samples,
    member: str,
    spec: TrainedSpec,
    network: Standardized,
    history: Sequence[HistoryRow] | None,
    feeding: Feeding,
    events: bool = False,
) -> int:
    """Publish the weights, then the spec, whose presence means that they are complete, and last the logits.

    Args:
        member: its fingerprint.
        history: a row per epoch; None if the weights are published already.
        events: write TensorBoard's event file beside the history.

    Returns:
        The size of the checkpoint in bytes.
    """
    dataset = samples.dataset
    if history is not None:
        store.write(paths.history(dataset, member), table_to_bytes(pa.Table.from_pylist(_even(history))))
        if events:
            _write_events(store, paths.event_folder(dataset, member), history)
        save_checkpoint(store, dataset, member, spec, network)
        store.write(paths.member_spec(dataset, member), sealed(json.loads(spec_json(spec))).encode())
    # From the published bytes, so that the cached logits match the published weights.
    loaded = load_checkpoint(store, dataset, member).to(feeding.device)
    logits = LogitStore(store)
    for split in TRAINED_SPLITS:
        logits.write(logit_table(loaded, spec, member, samples, split, store, feeding))
    for left in (paths.failure(dataset, member), paths.last_good_weights(dataset, member)):
        store.remove(left)
    return len(store.read(paths.checkpoint(dataset, member)))


def publish_failed(store: Store, dataset: str, member: str, spec: TrainedSpec, network: Standardized, why: str) -> None:
    """Publish a failed member's best weights, under another name than a trained member's, and the reason."""
    if all(bool(value.isfinite().all()) for value in network.state_dict().values() if value.is_floating_point()):
        save_checkpoint(store, dataset, member, spec, network, paths.last_good_weights(dataset, member))
    content = {"member": spec.name, "why": why, "spec": json.loads(spec_json(spec))}
    store.write(paths.failure(dataset, member), json.dumps(content, indent=1).encode() + b"\n")


def _even(history: Sequence[HistoryRow]) -> list[HistoryRow]:
    """Rows with the same keys: stages report different metrics."""
    names = list(dict.fromkeys(name for row in history for name in row))
    return [{name: row.get(name, math.nan) for name in names} for row in history]


def _write_events(store: Store, folder: str, history: Sequence[HistoryRow]) -> None:
    from tensorboardX import SummaryWriter

    with tempfile.TemporaryDirectory() as place:
        with SummaryWriter(place) as writer:
            for step, row in enumerate(history, 1):
                for name, value in row.items():
                    if name not in ("epoch", "stage"):
                        writer.add_scalar(name, value, step)
        for file in sorted(Path(place).iterdir()):
            store.write(f"{folder}/{file.name}", file.read_bytes())
