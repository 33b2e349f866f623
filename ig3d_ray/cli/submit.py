"""`ig3d submit`: a run as a job of a cluster."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.options import Overrides, SpaceFile
from ig3d_ray.cli.say import say
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths

if TYPE_CHECKING:
    from ig3d_ray.config.search_space import SearchSpace

INTERRUPTED = 130


def submit(
    space_file: SpaceFile,
    storage: Annotated[
        str, typer.Option("--storage", metavar="URI", help="s3://bucket/prefix, or a folder that all machines see.")
    ],
    dashboard: Annotated[
        str, typer.Option("--dashboard", metavar="URL", help="Dashboard of the cluster.")
    ] = "http://127.0.0.1:8265",
    overrides: Overrides = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the job's log until it ends; exit with its code.")
    ] = False,
) -> None:
    """Run a search space on a cluster, as a job; print how to follow and stop it, and where its result will be."""
    from ig3d_ray.on_ray import jobs

    # An error in the file is better reported here than by the job.
    space = _load(space_file, storage, tuple(overrides or ()))
    job = jobs.submit(space_file, space, storage, overrides or (), dashboard)
    say(f"job {job} on {dashboard}", err=True)
    for what, words in (("follow", "logs --follow"), ("stop", "stop")):
        say(f"  {what}: ray job {words} {job} --address {dashboard}", err=True)
    spec = paths.ensemble_spec(paths.search_folder(space.dataset, space_file.stem, "*"))
    say(f"  spec: {storage.rstrip('/')}/{spec}", err=True)
    say("  if it is stopped or fails, the same command resumes it", err=True)
    if not follow:
        say(job)
        return
    try:
        code = jobs.follow(dashboard, job, _write)
    except KeyboardInterrupt:
        say(f"\nig3d: no longer following; job {job} continues", err=True)
        raise typer.Exit(INTERRUPTED) from None
    raise typer.Exit(code)


def _load(space_file: Path, storage: str, overrides: tuple[str, ...]) -> "SearchSpace":
    """The search space; declarations are read from the storage only if needed: this machine may not have access."""
    from ig3d_ray.config.load import load_space
    from ig3d_ray.data.declared import use_declarations
    from ig3d_ray.storage.store import Store

    try:
        return load_space(space_file, overrides)
    except Ig3dError as error:
        try:
            use_declarations(Store(storage))
        except Ig3dError:
            raise error from None
        return load_space(space_file, overrides)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
