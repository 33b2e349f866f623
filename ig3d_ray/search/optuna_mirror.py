"""A copy of the search in an Optuna storage, for optuna-dashboard and other tools while it runs."""

from urllib.parse import urlsplit

import optuna
from sqlalchemy.exc import SQLAlchemyError

from ig3d_ray.errors import Ig3dError
from ig3d_ray.search.explorer import Explorer


class StudyCopy:
    """Writes the finished trials of the exported part's study to a storage; existing trials are not written again.

    The search never reads it: the journal is authoritative, whatever happens to the database.

    Args:
        url: such as sqlite:///search.db or postgresql://user:password@host/name.
        name: of the study.

    Raises:
        Ig3dError: the storage cannot be opened; the message does not hold the password.
    """

    def __init__(self, url: str, name: str) -> None:
        parts = urlsplit(url)
        self.name, self.shown = name, f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        try:
            self.storage = optuna.storages.get_storage(url)
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise Ig3dError(f"--optuna-storage {self.shown}: {_reason(error)}; check the URL and its driver") from error

    def write(self, explorer: Explorer) -> None:
        """Add the results since the last call."""
        source = explorer.studies[0].study
        try:
            copy = optuna.create_study(
                storage=self.storage, study_name=self.name, directions=source.directions, load_if_exists=True
            )
            copy.add_trials(source.get_trials(deepcopy=False)[len(copy.get_trials(deepcopy=False)) :])
        except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
            raise Ig3dError(
                f"--optuna-storage {self.shown}: {_reason(error)}; what is scored is kept: search again"
            ) from error


def _reason(error: Exception) -> str:
    """The first line, without the statement and the address that databases append."""
    return type(getattr(error, "orig", None) or error).__name__
