"""`ig3d cluster`: looking at cluster files before they cost anything."""

from pathlib import Path
from typing import Annotated

import typer

cluster_app = typer.Typer(help="Clusters: look at their files before they are launched.", no_args_is_help=True)


@cluster_app.callback()
def _group() -> None:
    """Keeps `check` a word of its own while it is the only command."""


@cluster_app.command("check")
def cluster_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file for `ray up`, a RayJob or a RayCluster.")],
    crd: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="KubeRay's schema: `kubectl get crd rayjobs.ray.io -o yaml`."),
    ] = None,
    mounts: Annotated[
        Path, typer.Option(metavar="FOLDER", help="From which `ray up` will be called; file_mounts start there.")
    ] = Path("."),
) -> None:
    """Look for what would not work, would cost, or would let others in. Exit code 1 if anything is found."""
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
        checked = "Ray's schema and ours"
    else:
        found += check_manifest(content)
        found += check_schema(content, crd) if crd else []
        checked = "the operator's schema and our rules" if crd else "our rules; with --crd also the operator's schema"
    for fault in found:
        print(f"{file}: {fault.where}: {fault.told} [{fault.rule}]")
    if found:
        raise typer.Exit(1)
    print(f"{file}: nothing wrong by {checked}")
