"""Starting Ray on this machine when a start fails."""

import pytest
import ray

from ig3d_ray.errors import Ig3dError, Terminated
from ig3d_ray.on_ray import local


class Starts:
    """`ray.init` that fails a number of times."""

    def __init__(self, failures: int, error: BaseException) -> None:
        self.failures, self.error, self.calls, self.shutdowns = failures, error, 0, 0

    def init(self, **_: object) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error

    def shutdown(self) -> None:
        self.shutdowns += 1


def starts(patch: pytest.MonkeyPatch, failures: int, error: BaseException) -> Starts:
    found = Starts(failures, error)
    patch.setattr(ray, "init", found.init)
    patch.setattr(ray, "shutdown", found.shutdown)
    return found


def test_a_start_that_fails_is_repeated_and_its_rest_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = starts(monkeypatch, 2, RuntimeError("port is taken\nmore"))
    local.start_here()
    assert (found.calls, found.shutdowns) == (3, 2)


def test_a_machine_where_ray_never_starts_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    starts(monkeypatch, 9, RuntimeError("\nport is taken\nmore"))
    with pytest.raises(Ig3dError, match=r"Ray could not be started on this machine \(port is taken\)") as refused:
        local.start_here()
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) <= 300


def test_a_terminated_start_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    error = SystemError("error return without exception set")
    error.__cause__ = Terminated()
    found = starts(monkeypatch, 1, error)
    with pytest.raises(SystemError):
        local.start_here()
    assert found.calls == 1
