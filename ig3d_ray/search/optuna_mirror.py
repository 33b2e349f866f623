"""A copy of the search in an Optuna storage, for optuna-dashboard and other tools while it runs."""

import logging
from urllib.parse import urlsplit

import optuna
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from ig3d_ray.errors import Ig3dError, without_password
from ig3d_ray.search.explorer import Explorer

logger = logging.getLogger(__name__)


class StudyCopy:
    """Writes the finished trials of the exported part's study to a storage; existing trials are not written again.

    The search never reads it, and it never ends a search: a database that is locked or away for a moment is tried again
    after the next round, and at the end.

    Args:
        url: such as sqlite:///search.db or postgresql://user:password@host/name.
        name: of the study.

    Raises:
        Ig3dError: the storage cannot be opened; the message does not hold the password.
    """

    def __init__(self, url: str, name: str) -> None:
        parts = urlsplit(url)
        self.url, self.name = url, name
        self.shown = f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
        self._storage: optuna.storages.BaseStorage | None = None
        self._failed = False
        try:
            self._open()
        except Exception as error:
            if not _is_busy(error):
                raise Ig3dError(f"--optuna-storage {self.shown}: {_reason(error)}") from error
            self._warn(error)

    def write(self, explorer: Explorer) -> None:
        """Add the results since the last call; where that fails, they are added by the next one.

        Args:
            explorer: the search.
        """
        source = explorer.studies[0].study
        try:
            copy = optuna.create_study(
                storage=self._open(), study_name=self.name, directions=source.directions, load_if_exists=True
            )
            copy.add_trials(source.get_trials(deepcopy=False)[len(copy.get_trials(deepcopy=False)) :])
        except Exception as error:  # of any driver
            self._warn(error)
            return
        if self._failed:
            logger.info(f"optuna: {self.shown}: written again")
        self._failed = False

    def close(self, explorer: Explorer) -> None:
        """Try once more, if the last results could not be written.

        Args:
            explorer: the search, which is over.
        """
        if self._failed:
            self.write(explorer)
        if self._failed:
            logger.warning(f"optuna: {self.shown}: the copy is not complete; the search itself is")

    def _open(self) -> optuna.storages.BaseStorage:
        if self._storage is None:
            self._storage = optuna.storages.get_storage(self.url)
        return self._storage

    def _warn(self, error: Exception) -> None:
        if not self._failed:
            logger.warning(f"optuna: {self.shown}: {_reason(error)}; the search goes on and tries again")
        self._failed = True


def _is_busy(error: Exception) -> bool:
    """Whether another process holds the database, which passes."""
    return isinstance(error, OperationalError) and "locked" in str(error)


def _reason(error: Exception) -> str:
    """What is wrong and what to do, without the statement and the address that databases append."""
    if isinstance(error, NoSuchModuleError | ArgumentError):
        return "not the URL of a database; use sqlite:///search.db or postgresql://user:password@host/name"
    if isinstance(error, ImportError):
        return f"its driver is not installed: pip install {error.name or 'the driver that the URL names'}"
    cause = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    reason = without_password(lines[0])[:120] if lines else type(cause).__name__
    if isinstance(error, OperationalError) and "locked" not in reason:
        return f"{reason}; is the server up, the folder there, the password right?"
    if isinstance(error, SQLAlchemyError):
        return reason
    return f"{type(error).__name__}: {reason}"
