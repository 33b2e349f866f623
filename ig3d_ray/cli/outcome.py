"""What `ig3d run` and `ig3d search` print and log at the end."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.storage import paths

if TYPE_CHECKING:
    from ig3d_ray.config.search_space import SearchSpace
    from ig3d_ray.report.tracking import Tracking
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.pipeline import Outcome

OptunaStorage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        envvar="IG3D_OPTUNA_STORAGE",
        show_envvar=True,
        help="Copy the study there for optuna-dashboard, such as sqlite:///search.db or postgresql://...",
    ),
]
Mlflow = Annotated[
    str | None,
    typer.Option(
        metavar="URI",
        envvar="IG3D_MLFLOW",
        show_envvar=True,
        help="Log the search and its members to MLflow: http://host:port, or sqlite:///mlflow.db.",
    ),
]


def tracking_at(uri: str | None, space: "SearchSpace") -> "Tracking | None":
    """The MLflow experiment of a search space; None without a URI.

    Raises:
        Ig3dError: MLflow is not installed, or the server does not answer.
    """
    if uri is None:
        return None
    from ig3d_ray.report.tracking import Tracking

    return Tracking(uri, space.dataset)


def show_outcome(
    space: "SearchSpace", outcome: "Outcome", store: "Store", as_json: bool, tracking: "Tracking | None"
) -> None:
    """Write the report, print the results, and log them.

    Args:
        space: what was searched.
        outcome: what was found.
        store: where it is stored.
        as_json: print one line of JSON instead of tables.
        tracking: an MLflow experiment, or None.
    """
    from ig3d_ray.workflow.reports import write_report

    page = write_report(store, outcome.findings, outcome.folder)
    if as_json:
        _print_json(space, outcome, store, page)
    else:
        _print_tables(space, outcome, store, page)
    if tracking is not None:
        tracking.log(store, outcome.findings, outcome.folder)
        if not as_json:
            print(f"mlflow: {tracking.where}")


def _print_json(space: "SearchSpace", outcome: "Outcome", store: "Store", page: str) -> None:
    from ig3d_ray.report.text import verdict

    scores = outcome.spec.scores
    content = {
        "spec": store.locate(paths.ensemble_spec(outcome.folder)),
        "page": page,
        "objective": space.objective,
        "selection": scores.selection.metrics[space.objective].value,
        "report": scores.report.metrics[space.objective].model_dump(),
        "gain_over_best_single": outcome.spec.compared_with["best_single"].gain.model_dump(),
        "members": [member.name for member in outcome.spec.members],
        "optimism": outcome.spec.optimism.model_dump(),
        "verdict": verdict(space, outcome.board),
        "missing": outcome.missing,
        "failed": outcome.failed,
        "trained": outcome.trained,
    }
    print(json.dumps(content))


def _print_tables(space: "SearchSpace", outcome: "Outcome", store: "Store", page: str) -> None:
    from ig3d_ray.cli.terminal import stdout_console
    from ig3d_ray.report.text import render

    console = stdout_console()
    console.print(render(space, outcome.board, console.width))
    for name, reason in (outcome.missing | outcome.failed).items():
        print(f"excluded: {name}: {reason}")
    if outcome.failed:
        print(f"{len(outcome.failed)} members could not be trained (above); the others were searched")
    if outcome.unused:
        print(f"{outcome.unused} trained members in the storage are not in this space; repeat the --set of their run")
    print(f"report: {page}")
    print(f"spec: {store.locate(paths.ensemble_spec(outcome.folder))}")
