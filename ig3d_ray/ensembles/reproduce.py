"""Predictions of an exported ensemble on a split of its data set, and whether the reported score is reproduced."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ig3d_ray.data import datasets
from ig3d_ray.data.labels import find_labels
from ig3d_ray.data.samples import load_samples
from ig3d_ray.ensembles.from_tables import fused_frame
from ig3d_ray.ensembles.spec import EnsembleMember, EnsembleSpec
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation import metrics
from ig3d_ray.evaluation.logits import LogitStore, LogitTable
from ig3d_ray.evaluation.pool import Pool, align
from ig3d_ray.evaluation.pool_parameters import with_parameters
from ig3d_ray.fusion.calibrated import scored
from ig3d_ray.models.registry import has_network
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split

# Rounding on another machine may change the result of a near tie: one sample, rarely two.
SAMPLES_THAT_MAY_TURN = 2
VA_SLACK = 1e-4


@dataclass(frozen=True)
class Prediction:
    """An ensemble's outputs on a split.

    Attributes:
        pool: the members' outputs with ids and labels, on every sample that the ensemble's members have.
        fused: `[N, C]` or `[N, 2]`.
        scores: every metric of them.
        compared: how many of the samples the search compared on; others may be missing for a member of its
            pool.
        compared_score: the objective on those.
        reported: the score in the spec; None where the spec has none on this split, or where ids or labels are
            not those that it was scored on.
    """

    pool: Pool
    fused: np.ndarray
    scores: dict[str, float]
    compared: int
    compared_score: float
    reported: float | None


def predict(spec: EnsembleSpec, store: Store, split: Split) -> Prediction:
    """Recompute every member's outputs from its checkpoint and fuse them.

    Imported members have no checkpoint: their cached predictions are used, and must be those that were scored.

    Raises:
        Ig3dError: a checkpoint or table is missing or is not the one in the spec; the split has no samples;
            the score on the spec's own samples is not the spec's.
    """
    tables = _member_tables(spec, store, split)
    labels = find_labels(store, spec.dataset, split)
    if labels is None:
        raise Ig3dError(f"{spec.dataset}: no labels for {split} in {store.uri}")
    pool = align(tables, labels, spec.task)
    if spec.fusion.representation is not None:
        pool = with_parameters(store, pool, spec.fusion.representation)
    fused = spec.predict(pool)
    rows = np.flatnonzero(~np.isin(pool.ids, spec.excluded.get(split, ())))
    compared = pool.take(rows)
    of_probabilities = spec.objective in metrics.PROBABILITY_METRICS
    ours = scored(spec.fusion, fused, spec.objective)
    scores = metrics.score(spec.task, ours, pool.labels, of_probabilities)
    again = metrics.score_one(spec.task, ours[rows], compared.labels, spec.objective)
    same_samples = spec.provenance.samples_sha256.get(split) == compared.samples_digest
    reported = _reported(spec, split) if same_samples else None
    slack = SAMPLES_THAT_MAY_TURN / max(len(rows), 1) * len(spec.class_names) if spec.task.has_classes else VA_SLACK
    if reported is not None and abs(again - reported) > slack:
        raise Ig3dError(
            f"{spec.dataset} {split}: {spec.objective} comes out at {again:.6f}, the spec has {reported:.6f}, on the"
            " same samples and labels: features or images have changed since; restore them, or run the search again"
        )
    return Prediction(pool, fused, scores, len(rows), again, reported)


def _reported(spec: EnsembleSpec, split: Split) -> float | None:
    """The spec's number for the exported weights on a split (the cross-fitted number is of other weights)."""
    own = spec.scores.selection if split == spec.protocol.choose_on else spec.scores.report
    return own.metrics[spec.objective].value if own.split == split else None


def _member_tables(spec: EnsembleSpec, store: Store, split: Split) -> list[LogitTable]:
    """Each member's outputs on a split: of its network, or imported ones. Loads torch only for networks."""
    networks = [member.name for member in spec.members if has_network(member.parsed)]
    computed: dict[str, LogitTable] = {}
    if networks:
        from ig3d_ray.ensembles.predictor import Ensemble

        computed = Ensemble(spec, store, "cpu").split_outputs(load_samples(store, spec.dataset), split)
    return [computed.get(member.name) or _imported(spec, member, store, split) for member in spec.members]


def _imported(spec: EnsembleSpec, member: EnsembleMember, store: Store, split: Split) -> LogitTable:
    table = LogitStore(store).read(spec.dataset, member.fingerprint, split)
    scored = member.logits_sha256.get(split)
    if scored is not None and table.digest != scored:
        name = store.locate(paths.logit_table(spec.dataset, member.fingerprint, split))
        raise Ig3dError(f"{name}: not the predictions that were scored (SHA-256 differs); search again")
    return table


def prediction_table(spec: EnsembleSpec, prediction: Prediction) -> pd.DataFrame:
    """Predictions with ids: `predicted`, `true` and a `probability_<class>` each; or `valence`, `arousal`,
    `true_valence` and `true_arousal`, in the data set's range.

    Args:
        spec: whose fusion and classes.
        prediction: of a split.
    """
    pool = prediction.pool
    frame = fused_frame(spec, spec.fusion, pool.ids.tolist(), prediction.fused)
    if spec.task.has_classes:
        true = [spec.class_names[label] for label in pool.labels.tolist()]
        frame.insert(2, "true", pd.Series(true, dtype="string"))
    else:
        about = datasets.find(spec.dataset)
        known = about.va.native(pool.labels) if about is not None and about.va is not None else pool.labels
        frame["true_valence"], frame["true_arousal"] = known[:, 0], known[:, 1]
    return frame
