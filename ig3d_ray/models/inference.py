"""A trained member's outputs: network and samples to a logit table, in one unsharded pass."""

import numpy as np
import torch

from ig3d_ray.data import datasets
from ig3d_ray.data.samples import Samples
from ig3d_ray.evaluation.logits import LogitTable
from ig3d_ray.models.inputs import Feeding, Inputs, member_inputs, member_samples
from ig3d_ray.models.precision import tf32
from ig3d_ray.models.scaling import Standardized
from ig3d_ray.models.spec import TrainedSpec, spec_json
from ig3d_ray.storage.store import Store
from ig3d_ray.types import Split

BATCH = 512


@torch.inference_mode()
def network_scores(network: Standardized, x: Inputs, batch: int | None = None) -> np.ndarray:
    """`[N, outputs]` float32 raw scores of raw inputs, in evaluation mode, in fp32 (no TF32 either).

    Args:
        batch: samples at once; by default as many as a network on images of this size has room for.
    """
    network.eval()
    if batch is None:
        batch = BATCH if x.image_size is None else max(8, BATCH * 112**2 // (2 * x.image_size**2))
    order = torch.arange(len(x)).split(batch)
    with tf32(False):
        return np.asarray(torch.cat([network(*inputs).float().cpu() for inputs in x.batches(order)]).numpy())


def logit_table(
    network: Standardized,
    spec: TrainedSpec,
    member: str,
    samples: Samples,
    split: Split,
    store: Store,
    feeding: Feeding | None = None,
) -> LogitTable:
    """The outputs of a trained network for every sample of a split that has its inputs.

    Args:
        network: trained weights loaded.
        spec: its spec.
        member: the member's fingerprint.
        samples: the whole data set.
        store: where its images are.

    Raises:
        Ig3dError: the split has no such samples, or the outputs are not finite.
    """
    chosen = member_samples(spec, samples, split)
    feeding = feeding or Feeding(network.device)
    scores = network_scores(network, member_inputs(spec, chosen, store, feeding))
    return score_table(scores, spec, member, samples, split, chosen.ids)


def score_table(
    scores: np.ndarray, spec: TrainedSpec, member: str, samples: Samples, split: Split, ids: np.ndarray
) -> LogitTable:
    """Raw scores `[N, outputs]` of samples as the logit table of a member."""
    loss = spec.last_loss
    return LogitTable(
        dataset=samples.dataset,
        split=split,
        member=member,
        name=spec.name,
        view=spec.view,
        member_spec=spec_json(spec),
        dataset_fingerprint=samples.fingerprint,
        ids=ids,
        logits=scores[:, : len(datasets.dataset(samples.dataset).class_names)] if loss.has_classes else None,
        va=scores[:, -2:] if loss.has_va else None,
    )
