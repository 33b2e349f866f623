"""`ig3d cluster ...`: checks of cluster files before a launch."""

from pathlib import Path
from typing import Annotated

import typer

cluster_app = typer.Typer(help="Check cluster files before a launch.", no_args_is_help=True)


@cluster_app.callback()
def _group() -> None:
    """Keeps `check` a subcommand while it is the only one."""


@cluster_app.command("check", epilog="Example: ig3d cluster check clusters/aws.yaml")
def cluster_check(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A YAML file for `ray up`, or a RayJob, RayCluster or RayService.")
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
    from ig3d_ray.launch.crd import check_schema
    from ig3d_ray.launch.faults import Fault, placeholders, secrets
    from ig3d_ray.launch.kuberay import check_manifest
    from ig3d_ray.launch.launcher import LAUNCHER_RULES
    from ig3d_ray.launch.read import read_cluster

    kind, content, text = read_cluster(file)
    found = [*secrets(text), *placeholders(text)]
    if kind == "launcher":
        from ig3d_ray.on_ray.ray_up import schema_error

        rejected = schema_error(content)
        if rejected is not None:
            found.append(Fault("schema", rejected[0], f"Ray rejects it: {rejected[1]}"))
        found += [fault for rule in LAUNCHER_RULES for fault in rule(content, mounts)]
        checked = "Ray's schema and these rules"
    else:
        found += check_manifest(content)
        found += check_schema(content, crd) if crd else []
        checked = (
            "the operator's schema and these rules" if crd else "these rules; with --crd also by the operator's schema"
        )
    for fault in found:
        print(f"{file}: {fault.where}: {fault.message} [{fault.rule}]")
    if found:
        raise typer.Exit(1)
    print(f"{file}: nothing wrong by {checked}")
