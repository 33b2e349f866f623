"""`ig3d submit`: a run as a job of a cluster."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ig3d_ray.storage import paths


def submit(
    space_file: Annotated[Path, typer.Argument(metavar="SPACE", help="A YAML file such as search_spaces/faces.yaml.")],
    storage: Annotated[str, typer.Option(metavar="URI", help="s3://bucket/prefix, or a folder all machines see.")],
    address: Annotated[str, typer.Option(help="The cluster's dashboard.")] = "http://127.0.0.1:8265",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="As for `ig3d run`. Repeatable.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show its lines until it ends; leave with its code.")
    ] = False,
) -> None:
    """Run on a cluster, as a job: say how to follow it, how to stop it, and where its result will be."""
    from ig3d_ray.config.load import load_space
    from ig3d_ray.on_ray import jobs

    # A mistake in the file is better told here than by the job.
    space = load_space(space_file, tuple(overrides or ()))
    job = jobs.submit(space_file, storage, overrides or (), address)
    print(f"job {job} on {address}", file=sys.stderr)
    for what, words in (("follow", "logs --follow"), ("stop", "stop")):
        print(f"  {what}: ray job {words} {job} --address {address}", file=sys.stderr)
    where = f"{storage.rstrip('/')}/{paths.ensemble_spec(paths.search_folder(space.dataset, space_file.stem, '*'))}"
    print(f"  spec: {where}", file=sys.stderr)
    print("  stopped or failed, the same command goes on where it was", file=sys.stderr)
    if not follow:
        print(job)
        return
    try:
        code = jobs.follow(address, job, _show)
    except KeyboardInterrupt:
        print(f"\nig3d: no longer following; job {job} goes on", file=sys.stderr)
        raise typer.Exit(130) from None
    raise typer.Exit(code)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
