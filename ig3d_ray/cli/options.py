"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ig3d_ray.errors import Ig3dError

RepresentationName = Literal["emoca", "smirk"]
SplitName = Literal["train", "dev", "test"]
MissingName = Literal["fail", "skip", "fallback"]

Storage = Annotated[
    str,
    typer.Option(
        "--storage", metavar="URI", help="Storage of data, members and searches: a folder or s3://bucket/prefix."
    ),
]
SpecStorage = Annotated[
    str | None,
    typer.Option("--storage", metavar="URI", help="Storage of the members' checkpoints; by default that of the spec."),
]
SpaceFile = Annotated[
    Path, typer.Argument(metavar="SPACE", help="A search space in YAML, such as search_spaces/faces.yaml.")
]
SpecUri = Annotated[
    str,
    typer.Argument(
        metavar="SPEC",
        help="A best_ensemble.json, as a file or URI; its folder; or, with --storage, its search's name.",
    ),
]
Risk = Annotated[
    float | None,
    typer.Option(
        "--abstain-above-risk",
        metavar="ERROR",
        help="Abstain so that at most this share of answers is wrong.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override one field, such as search.budget=500. Repeatable."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="ADDRESS", help="Ray cluster, host:port or auto; without, this machine."),
]
Dataset = Annotated[str, typer.Option("--dataset", metavar="NAME", help="Data set of the samples.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace what is stored under this name.")]
RowOrderIsId = Annotated[
    bool,
    typer.Option("--row-order-is-id", help="Files have no sample_id, and row i is the same sample in every file."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of everything random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout, and nothing else.")]


def check_suffix(file: Path, allowed: tuple[str, ...], option: str) -> None:
    """Check the name of an output file.

    Args:
        file: the file.
        allowed: suffixes of the formats that can be written.
        option: the option's name, for the message.

    Raises:
        Ig3dError: another suffix, or a folder that does not exist.
    """
    if file.suffix.lower() not in allowed:
        raise Ig3dError(f"{option} {file}: the format follows from the suffix; allowed: {', '.join(allowed)}")
    if not file.absolute().parent.is_dir():
        raise Ig3dError(f"{option} {file}: the folder {file.absolute().parent} does not exist; create it first")
