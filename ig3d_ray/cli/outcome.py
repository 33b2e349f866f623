"""What `ig3d run` and `ig3d search` print and log at the end."""

import json
import logging
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.say import say
from ig3d_ray.storage import paths

if TYPE_CHECKING:
    from ig3d_ray.config.search_space import SearchSpace
    from ig3d_ray.report.tracking import Tracking
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.pipeline import Outcome

logger = logging.getLogger(__name__)
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
    page = _report(store, outcome)
    if as_json:
        _print_json(space, outcome, store, page)
    else:
        _print_tables(space, outcome, store, page)
    if tracking is not None and _logged(tracking, store, outcome) and not as_json:
        say(f"mlflow: {tracking.where}")


def _report(store: "Store", outcome: "Outcome") -> str | None:
    """The report's address; None if it could not be written, which ends no search."""
    from ig3d_ray.workflow.reports import write_report

    try:
        return write_report(store, outcome.findings, outcome.folder)
    except Exception as error:  # of any library that draws
        name = store.locate(outcome.folder)
        logger.warning(f"report: not written ({type(error).__name__}: {error}); try again: ig3d report {name}")
        return None


def _logged(tracking: "Tracking", store: "Store", outcome: "Outcome") -> bool:
    """Whether MLflow has it, tried twice: a server that is away ends no search."""
    from ig3d_ray.errors import Ig3dError

    for left in (1, 0):
        try:
            tracking.log(store, outcome.findings, outcome.folder)
            return True
        except Ig3dError as error:
            logger.warning(f"mlflow: {error}" + ("; once more" if left else ""))
    return False


def _print_json(space: "SearchSpace", outcome: "Outcome", store: "Store", page: str | None) -> None:
    from ig3d_ray.report.sentences import verdict

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
        "evaluations": outcome.board.evaluations,
        "missing": outcome.missing,
        "failed": outcome.failed,
        "trained": outcome.trained,
    }
    say(json.dumps(content))


def _print_tables(space: "SearchSpace", outcome: "Outcome", store: "Store", page: str | None) -> None:
    from ig3d_ray.cli.terminal import stdout_console
    from ig3d_ray.report.text import render

    console = stdout_console()
    console.print(render(space, outcome.board, console.width))
    for name, reason in (outcome.missing | outcome.failed).items():
        say(f"excluded: {name}: {reason}")
    if outcome.failed:
        say(f"{len(outcome.failed)} members could not be trained (above); the others were searched")
    if outcome.unused:
        say(f"{outcome.unused} trained members in the storage are not in this space; repeat the --set of their run")
    if page is not None:
        say(f"report: {page}")
    say(f"spec: {store.locate(paths.ensemble_spec(outcome.folder))}")
