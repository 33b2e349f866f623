"""Writes the page of the study from its numbers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from benchmarks.real_faces import analysis, figures
from benchmarks.real_faces.analysis import Change, Compared, Faces, Flattery, Point
from benchmarks.real_faces.trainings import Study
from ig3d_ray.data import datasets
from ig3d_ray.data.samples import load_samples
from ig3d_ray.evaluation.bootstrap import Interval
from ig3d_ray.storage.store import Store
from ig3d_ray.workflow.reports import findings_of

TEMPLATE = Path(__file__).with_name("real-faces.md.j2")


@dataclass(frozen=True)
class Numbers:
    """All numbers of the study.

    Attributes:
        compared: the paper's comparison.
        subsets: the 3D classifier on parts of the parameters.
        chosen: the ensemble that the search chose, and its gains over the best single and best 2D member.
        strengths: by the strength of the 2D member.
        shares: by the number of training faces.
        classes: changes by class.
        yaws: changes by the head's rotation.
        confidences: changes by the 2D member's confidence.
        flattery: the data set with its duplicates kept and together.
        repeated: the same two kinds of members with another split and other seeds.
        p: McNemar's test of the weighted sum against the 2D member, for each seed.
        counts: faces per split, sets of copies and copies.
    """

    compared: list[Compared]
    subsets: list[Compared]
    chosen: dict[str, Any]
    strengths: list[Point]
    shares: list[Point]
    classes: list[Change]
    yaws: list[Change]
    confidences: list[Change]
    flattery: list[Flattery]
    repeated: Point
    p: list[float]
    counts: dict[str, int]


def analyse(study: Study) -> tuple[Numbers, dict[str, bytes]]:
    """Compute every number, and draw the figures."""
    whole, small = study.work / "fer2013-whole.yaml", study.work / "fer2013-small.yaml"
    seeds = [study.seeds * study.seed + number for number in range(study.seeds)]
    faces = Faces.of(study.whole, whole)
    pairs = [faces.pair(analysis.CNN.format(32, s), analysis.MLP.format("full", s)) for s in seeds]
    board, chosen, scores = _chosen(study)
    intermediate = [faces.test.outputs_of([analysis.INTERMEDIATE.format(s)])[0] for s in seeds]
    with_3d = [faces.pair(analysis.INTERMEDIATE.format(s), analysis.MLP.format("full", s)) for s in seeds]
    others = {
        "intermediate fusion": intermediate,
        "intermediate and 3D, weighted": [one.scores["weighted"] for one in with_3d],
        "all members, chosen": [scores],
    }
    subsets = {
        name: [faces.test.outputs_of([analysis.MLP.format(name, s)])[0] for s in seeds] for name in ("exp", "exp_pose")
    }
    names = datasets.dataset("fer2013").class_names
    parts = {name: faces.test.labels == number for number, name in enumerate(names)}
    strengths = analysis.by_strength(faces, seeds)
    shares = analysis.by_faces(study, faces, small, seeds[0])
    copies = _copies(study.copies("together"))
    samples = load_samples(Store(str(study.whole)), "fer2013", only=())
    numbers = Numbers(
        compared=analysis.compare(faces, pairs, others),
        subsets=[one for one in analysis.compare(faces, pairs, subsets) if one.name in ("3D", *subsets)],
        chosen=chosen,
        strengths=strengths,
        shares=shares,
        classes=analysis.changes(faces, pairs[0], {"all": np.ones(len(faces.test), dtype=bool)} | parts),
        yaws=analysis.changes(faces, pairs[0], analysis.yaw_parts(faces)),
        confidences=analysis.changes(faces, pairs[0], analysis.confidence_parts(pairs[0])),
        flattery=[analysis.flattery(study, small, one, copies, seeds[0]) for one in ("keep", "together")],
        repeated=_repeated(study),
        p=[analysis.verdict(faces, pair) for pair in pairs],
        counts={split: len(samples.in_split(split)) for split in ("train", "dev", "test")} | {"board": board},
    )
    drawn = {
        "faces": figures.by_faces(shares),
        "strength": figures.by_strength(strengths),
        "confusion": figures.confusion_change(analysis.confusion_change(faces, pairs[0]), names),
    }
    return numbers, drawn


def _repeated(study: Study) -> Point:
    seed = study.seeds * (study.seed + 1)
    faces = Faces.of(study.repeated, study.work / "fer2013-repeated.yaml")
    return analysis.point(faces, analysis.CNN.format(32, seed), analysis.MLP.format("full", seed), "another split")


def _chosen(study: Study) -> tuple[int, dict[str, Any], np.ndarray]:
    """How many candidates were scored, what was chosen, and its scores of the test faces."""
    store = Store(str(study.whole))
    folder = next(
        name.rpartition("/")[0] for name in store.names("searches/fer2013") if name.endswith("best_ensemble.json")
    )
    findings = findings_of(store, folder)
    spec, board, pool = findings.spec, findings.board, findings.plan.report
    outputs = pool.outputs_of([member.name for member in spec.members])
    return (
        board.candidates,
        {"members": [member.name for member in spec.members], "family": board.chosen_family},
        spec.fusion.apply(outputs, pool.task),
    )


def _copies(storage: Path) -> list[tuple[str, str]]:
    lines = (storage / "datasets" / "fer2013" / "copies.csv").read_text().splitlines()[1:]
    return [(row[0], row[3]) for row in (line.split(",") for line in lines)]


def write(numbers: Numbers, drawn: dict[str, bytes], folder: Path, study: Study, seconds: float | None) -> None:
    """Write the page, its figures and its numbers.

    Args:
        numbers: of the study.
        drawn: name -> SVG.
        folder: of the page.
        study: which one.
        seconds: that everything took; None where some of it was there already.
    """
    for name, svg in drawn.items():
        (folder / f"real-faces-{name}.svg").write_bytes(svg)
    (folder / "real-faces.json").write_text(json.dumps(asdict(numbers), indent=1, default=Interval.model_dump) + "\n")
    environment = jinja2.Environment(  # noqa: S701 -- Markdown of our own numbers
        trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {
        "score": score,
        "interval": interval,
        "gain": gain,
        "p": "{:.1g}".format,
        "difference": difference,
    }
    template = environment.from_string(TEMPLATE.read_text())
    text = template.render(n=numbers, study=study, minutes=None if seconds is None else round(seconds / 60))
    (folder / "real-faces.md").write_text(text + "\n")


def score(value: float) -> str:
    """Four decimals without the zero before them."""
    return f"{value:.4f}".replace("0.", ".", 1)


def difference(value: float) -> str:
    """Four decimals with the sign."""
    return f"{value:+.4f}".replace("0.", ".", 1)


def interval(one: Interval) -> str:
    """A score with its interval."""
    return f"{score(one.value)} [{score(one.low)}, {score(one.high)}]"


def gain(one: Interval | None) -> str:
    """A difference with its sign and its interval."""
    if one is None:
        return ""
    value, low, high = (f"{end:+.4f}".replace("0.", ".", 1) for end in (one.value, one.low, one.high))
    return f"{value} [{low}, {high}]"
