"""A trained member's outputs: network and samples to a logit table, in one unsharded pass."""

import numpy as np
import torch

from ig3d_ray.data import catalog
from ig3d_ray.data.catalog import Split
from ig3d_ray.data.samples import Samples
from ig3d_ray.logits import LogitTable
from ig3d_ray.members.build import Standardised, member_inputs, member_samples
from ig3d_ray.members.spec import TrainableSpec, spec_json
from ig3d_ray.storage import Store

BATCH = 512


@torch.inference_mode()
def network_scores(network: Standardised, x: torch.Tensor, batch: int = BATCH) -> np.ndarray:
    """`[N, outputs]` float32 raw scores of raw inputs `[N, ...]`, in evaluation mode."""
    network.eval()
    device = network.mean.device
    parts = [network(x[start : start + batch].to(device)).float().cpu() for start in range(0, len(x), batch)]
    return np.asarray(torch.cat(parts).numpy())


def logit_table(
    network: Standardised, spec: TrainableSpec, member: str, samples: Samples, split: Split, store: Store
) -> LogitTable:
    """What a trained network says about every sample of a split that has its feature.

    Args:
        network: trained weights loaded. spec, member: its spec and fingerprint.
        samples: the whole data set; store: where its images are.

    Raises:
        Ig3dError: the split has no such samples, or the outputs are not finite.
    """
    chosen = member_samples(spec, samples, split)
    scores = network_scores(network, member_inputs(spec, chosen, store))
    about = catalog.dataset(samples.dataset)
    classes = len(about.class_names)
    return LogitTable(
        dataset=samples.dataset,
        split=split,
        member=member,
        name=spec.name,
        view=spec.view,
        member_spec=spec_json(spec),
        dataset_fingerprint=samples.fingerprint,
        ids=chosen.ids,
        logits=scores[:, :classes],
        va=scores[:, classes:] if about.has_va and spec.loss.va_terms != "none" else None,
    )
