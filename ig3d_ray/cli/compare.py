"""`ig3d compare`: tools and models on the same labeled faces."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.options import AsJson, Seed
from ig3d_ray.cli.say import say
from ig3d_ray.cli.tables import Classes, Faces, IdColumn, LabelColumn
from ig3d_ray.errors import Ig3dError

if TYPE_CHECKING:
    from ig3d_ray.data.datasets import Dataset
    from ig3d_ray.evaluation.bootstrap import Interval
    from ig3d_ray.search.comparison import Comparison


def compare(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Outputs of tools, each FILE or NAME=FILE.")],
    labels: Annotated[Path, typer.Option(metavar="FILE", help="Table of ids and true classes.")],
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="Data set of the labels' class numbers.")] = None,
    classes: Classes = None,
    id_column: IdColumn = None,
    label_column: LabelColumn = None,
    faces: Faces = "error",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare tools on the faces that all found and on all faces, and find their best fusion."""
    from ig3d_ray.importing.labels import read_labels
    from ig3d_ray.importing.reading import Reading
    from ig3d_ray.search.comparison import compare as compared

    named: dict[str, Path] = {}
    for item in files:
        name, equals, path = item.partition("=")
        file = Path(path if equals else item)
        name = name if equals else file.name.split(".")[0]
        if name in named:
            raise Ig3dError(f"{item}: there is a tool {name} already; write NAME=FILE")
        named[name] = file
    about = _about(dataset, classes)
    truth = read_labels(labels, about, id_column, label_column)
    found = compared(named, truth, Reading(faces=faces, order_is_known=about is not None), seed)
    if as_json:
        say(json.dumps(_content(found)))
    else:
        _print(found)


def _about(dataset: str | None, classes: str | None) -> "Dataset | None":
    from ig3d_ray.data import datasets
    from ig3d_ray.data.datasets.declaration import parse_classes

    if classes is not None:
        return parse_classes(dataset or "labels", classes)
    return datasets.dataset(dataset) if dataset is not None else None


def _print(found: "Comparison") -> None:
    from rich import box
    from rich.table import Table

    from ig3d_ray.cli.terminal import stdout_console

    console = stdout_console()
    table = Table(box=box.SIMPLE_HEAD, title=f"{len(found.classes)} classes: {', '.join(found.classes)}")
    table.add_column("")
    table.add_column("faces found", justify="right")
    for where in (f"all found, n={found.common}", f"all faces, n={found.faces}"):
        for metric in ("accuracy", "macro F1"):
            table.add_column(f"{metric}\n{where}", justify="right")
    for tool in found.tools:
        cells = [_shown(part[metric]) for part in (tool.on_common, tool.on_all) for metric in ("accuracy", "macro_f1")]
        table.add_row(tool.name, str(tool.found), *cells)
    console.print(table)
    for tool in found.tools:
        for note in tool.notes:
            say(f"note: {tool.name}: {note}")
    for name, count in found.dropped.items():
        say(f"note: {count} faces of class {name} are left out: not every tool has this class")
    for pair in found.pairs:
        certain = "certain" if pair.is_certain else "not certain"
        gain = f"{pair.gain.value:+.4f} [{pair.gain.low:+.4f}, {pair.gain.high:+.4f}]"
        say(f"{pair.better} over {pair.worse}: {gain} accuracy, McNemar p = {pair.p:.2g}, adjusted: {certain}")
    say(found.sentence)
    if found.fusion is not None:
        score, over = found.fusion
        real = "the gain is real" if over.low > 0 else "no gain can be claimed"
        say(
            f"Best fusion: {' + '.join(found.members)}, {_shown(score)} accuracy, cross-fitted;"
            f" {over.value:+.4f} [{over.low:+.4f}, {over.high:+.4f}] over the best tool: {real}."
        )


def _shown(one: "Interval") -> str:
    return f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"


def _content(found: "Comparison") -> dict[str, object]:
    from dataclasses import asdict

    fusion = None
    if found.fusion is not None:
        score, gain = found.fusion
        fusion = {"members": found.members, "accuracy": score.model_dump(), "gain": gain.model_dump()}
    tools: list[dict[str, object]] = []
    for tool in found.tools:
        parts = {"on_common": tool.on_common, "on_all": tool.on_all}
        scores = {where: {metric: one.model_dump() for metric, one in part.items()} for where, part in parts.items()}
        tools.append({"name": tool.name, "found": tool.found, "notes": tool.notes, **scores})
    pairs = [asdict(pair) | {"gain": pair.gain.model_dump(), "certain": pair.is_certain} for pair in found.pairs]
    counts = {"classes": found.classes, "faces": found.faces, "common": found.common, "left_out": found.dropped}
    return counts | {"tools": tools, "pairs": pairs, "fusion": fusion, "verdict": found.sentence}
