"""The one module that uses names of Ray that are not public; each function documents why no public name suffices.

A new version of Ray is checked here first.
"""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import ray


def is_startup_timeout(error: BaseException) -> bool:
    """Whether a training ended because resources for its workers were not available in time.

    Ray Train's public `ControllerError` has the cause, but the cause's class is private.
    """
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    return isinstance(error, WorkerGroupStartupTimeoutError)


def data_parallel_trainer(train_loop: Any, **options: Any) -> Any:
    """A trainer without a process group; the public trainers all set one up."""
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    return _without_ray_data(DataParallelTrainer)(train_loop, **options)


def torch_trainer(train_loop: Any, **options: Any) -> Any:
    """A `TorchTrainer` without the process for Ray Data."""
    from ray.train.torch import TorchTrainer

    return _without_ray_data(TorchTrainer)(train_loop, **options)


def _without_ray_data(trainer: Any) -> Any:
    """A trainer class that starts no process for Ray Data, which Ray Train does even where there are no data sets."""
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback

    class Trainer(trainer):  # type: ignore[misc]
        def _create_default_callbacks(self) -> list[Any]:
            return [one for one in super()._create_default_callbacks() if not isinstance(one, DatasetsCallback)]

    return Trainer


def autoscaling_state() -> Any:
    """The autoscaler's last state; its version is 0 where there is no autoscaler.

    Ray's public cluster status omits requests that no machine type could serve.
    """
    from ray.core.generated import autoscaler_pb2

    reply = _client(ray.get_runtime_context().gcs_address).get_cluster_status()
    return autoscaler_pb2.GetClusterStatusReply.FromString(reply).autoscaling_state


def validate_launcher_file(content: dict[str, Any]) -> None:
    """Check a file for `ray up` by Ray's schema and its providers' defaults, which Ray offers only while launching.

    Raises:
        Exception: of any type that Ray's code raises for a wrong file.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(content))


@contextlib.contextmanager
def loopback_only() -> Iterator[str]:
    """Context in which `ray.init(_node_ip_address=...)` takes the address that this gives, 127.0.0.1, as it is.

    Ray replaces it by the machine's address in the network, and then all its processes listen on every interface.
    """
    from ray._private import services

    replaced = services.resolve_ip_for_localhost
    services.resolve_ip_for_localhost = lambda host: host
    try:
        yield "127.0.0.1"
    finally:
        services.resolve_ip_for_localhost = replaced


@functools.lru_cache(maxsize=1)
def _client(address: str) -> Any:
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    return GcsClient(address=address)
