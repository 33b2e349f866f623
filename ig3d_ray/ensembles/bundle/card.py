"""A model card: an ensemble's members, the basis of its scores, and uses that it is not intended for."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.evaluation.bootstrap import Interval

_PROTOCOLS = {
    "dev": "members' epochs and the fusion were chosen on the dev split; the test split was used once, to report",
    "cross_fitted": "chosen and reported on one set by cross-fitting: each fold is reported by a choice without it",
    "paper": "chosen on the samples that are reported, as in the paper: **every number below is optimistic**",
}


def model_card(spec: EnsembleSpec) -> str:
    """The card as Markdown.

    Args:
        spec: of the ensemble.
    """
    classes = f"one of {', '.join(spec.class_names)}"
    loader = PackageLoader("ig3d_ray.ensembles.bundle", "templates")
    # Markdown has no markup to escape.
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    return (
        environment.get_template("README.md.j2").render(
            spec=spec,
            predicted=classes if spec.task.has_classes else "valence and arousal, each from -1 to 1",
            protocol=_PROTOCOLS[spec.protocol.kind],
            report=spec.scores.report,
            single=spec.compared_with["best_single"],
            about=spec.provenance,
            interval=_interval,
        )
        + "\n"
    )


def _interval(value: Interval) -> str:
    return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"
