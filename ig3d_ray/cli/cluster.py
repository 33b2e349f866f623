"""`ig3d cluster ...`: checks of cluster files before a launch."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.say import say

if TYPE_CHECKING:
    from ig3d_ray.launch.faults import Fault

cluster_app = typer.Typer(help="Check cluster files before a launch.", no_args_is_help=True)


@cluster_app.callback()
def _group() -> None:
    """Keeps `check` a subcommand while it is the only one."""


@cluster_app.command("check", epilog="Example: ig3d cluster check clusters/aws.yaml clusters/skypilot.yaml")
def cluster_check(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="YAML files for `ray up`; of a RayJob, RayCluster or RayService; of a task of SkyPilot.",
        ),
    ],
    crd: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="KubeRay's schema, from `kubectl get crd rayjobs.ray.io -o yaml`."),
    ] = None,
    mounts: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="Folder that `ray up` will be called from; file_mounts are relative to it."
        ),
    ] = Path("."),
) -> None:
    """Find what would not work, would cost money, or would give others access. Exit code 1 if anything is found."""
    from ig3d_ray.launch.read import read_cluster

    # All are read before any is judged, so that a file that is none ends the command with nothing printed.
    clusters = [(file, *read_cluster(file)) for file in files]
    wrong = False
    for file, kind, content, text in clusters:
        found, checked = _faults(kind, content, text, crd, mounts)
        for fault in found:
            say(f"{file}: {fault.where}: {fault.message} [{fault.rule}]")
        here = any(fault.in_file for fault in found)
        wrong = wrong or here
        if not here:
            say(f"{file}: nothing wrong by {checked}")
    if wrong:
        raise typer.Exit(1)


def _faults(
    kind: str, content: dict[str, object], text: str, crd: Path | None, mounts: Path
) -> "tuple[list[Fault], str]":
    """What is wrong with a file, and by what it was checked."""
    from ig3d_ray.launch.crd import check_schema
    from ig3d_ray.launch.faults import Fault, placeholders, secrets
    from ig3d_ray.launch.kuberay import check_manifest
    from ig3d_ray.launch.launcher import LAUNCHER_RULES
    from ig3d_ray.launch.skypilot import check_task

    found = [*secrets(text), *placeholders(text)]
    if kind == "launcher":
        from ig3d_ray.on_ray.ray_up import schema_error

        rejected = schema_error(content)
        if rejected is not None:
            found.append(Fault("schema", rejected[0], f"Ray rejects it: {rejected[1]}"))
        return [*found, *(fault for rule in LAUNCHER_RULES for fault in rule(content, mounts))], (
            "Ray's schema and these rules"
        )
    if kind == "skypilot":
        return [*found, *check_task(content)], "these rules; `sky launch --dryrun` checks it by SkyPilot's schema"
    found += check_manifest(content)
    found += check_schema(content, crd) if crd else []
    by = "the operator's schema and these rules" if crd else "these rules; with --crd also by the operator's schema"
    return found, by
