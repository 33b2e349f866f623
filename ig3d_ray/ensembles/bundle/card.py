"""A model card: what an ensemble is, on what its numbers rest, and what it must not be used for."""

from ig3d_ray.ensembles.spec import EnsembleSpec
from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.evaluation.scores import SetScores

_PROTOCOLS = {
    "dev": "members' epochs and the fusion were chosen on the dev split; the test split was looked at once, to report",
    "cross_fitted": "chosen and reported on one set by cross-fitting: a choice that never saw a fold reports it",
    "paper": "chosen on the samples that are reported, as the paper did: **every number below is optimistic**",
}
_DIMENSIONS = "valence and arousal, each from -1 to 1"


def model_card(spec: EnsembleSpec) -> str:
    """The card as Markdown."""
    report, about, expression = spec.scores.report, spec.provenance, spec.task.has_classes
    what = f"one of {', '.join(spec.class_names)}" if expression else _DIMENSIONS
    members = "\n".join(f"- {m.name}: {m.kind}, takes {' and '.join(m.features)} as input" for m in spec.members)
    crops = "finds and crops the face first, so it is not in the bundle: give its parameters"
    encoders = "".join(
        f"- {name}: {crops if used.landmarks else 'its encoder is in the bundle'}\n"
        for name, used in spec.encoders.items()
    )
    encoders = encoders or "- none\n"
    return f"""# Late fusion for {spec.dataset}

An ensemble of {len(spec.members)} networks that predicts from an image of a face: {what}.

## Members

{members}

Fused by `{spec.fusion.strategy or "a single member"}` of {spec.fusion.space}. Encoders of 3D parameters:

{encoders}
## Input

Images aligned and cropped as {spec.dataset} ships them. On images cropped otherwise the numbers below do not hold.

## Numbers

Protocol `{spec.protocol.kind}`: {_PROTOCOLS[spec.protocol.kind]}.
{report.n} samples of {report.split}; 95 % bootstrap intervals.

{_table(spec, report)}

It looked {abs(spec.optimism.measured):.4f} {"better" if spec.optimism.measured >= 0 else "worse"} where it was chosen.

## Limits

- What is measured is agreement with the annotators of {spec.dataset}, whose labels are themselves uncertain: people who
  label such images agree with each other only in part.
- The numbers are of samples like those of {spec.dataset}: its sources, countries, ages, poses and light. Nothing is
  known here of how they differ between groups of people; measure it on yours before you rely on it.
- If a 3D face model can't be fitted, its members have no output; the spec has a fusion of the others (`fallbacks`).

## Intended use

Research on facial expressions: comparing methods, annotating data for a person to check, studying the models' errors.

## Not for

An expression is no measurement of a feeling: the same expression goes with different feelings, between
cultures, people and moments, and systems that infer emotion from faces err more for some groups than for others. Do
not use this to judge or monitor people: in hiring, school, work, policing, border control, insurance, health decisions
or advertising. Some laws forbid it (in the European Union, inferring emotions at work and in education). Do not use it
on people who have not agreed.

## Provenance

Seed {about.seed}; search space {about.search_space} ({about.search_space_hash}); data
{about.dataset_fingerprint or "without a samples table"}; {about.candidates} candidates tried; versions
{", ".join(f"{name} {number}" for name, number in sorted(about.versions.items()))}. Whole: `best_ensemble.json`.
"""


def _table(spec: EnsembleSpec, report: SetScores) -> str:
    single = spec.compared_with["best_single"]
    lines = ["| metric | ensemble | best single member |", "|---|---|---|"]
    lines += [
        f"| {name.replace('_', ' ')} | {_told(value)} | {_told(single.report.metrics[name])} |"
        for name, value in report.metrics.items()
    ]
    gain = f"\nGain in {spec.objective} over {single.label}: {_told(single.gain)}."
    return "\n".join(lines) + "\n" + gain


def _told(value: Interval) -> str:
    return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"
