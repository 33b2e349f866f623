"""Ray Train's runs, managed by the driver: as many in parallel as fit, with events and failures.

A run trains a list of members, since starting workers takes longer than a small training. Its name follows from
that list, so a run that was killed, with or without its driver, resumes from its last epoch when it is started
again anywhere that sees the same storage.
"""

import threading
from collections.abc import Callable, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import ray
from ray.exceptions import NodeDiedError, ObjectLostError, RayActorError, WorkerCrashedError
from ray.train import CheckpointConfig, ControllerError, FailureConfig, RunConfig, ScalingConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ig3d_ray.config.resources import Resources
from ig3d_ray.errors import Terminated, is_termination
from ig3d_ray.models.spec import spec_json
from ig3d_ray.on_ray import compat
from ig3d_ray.on_ray.cluster import slots
from ig3d_ray.on_ray.store_fs import ray_filesystem
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store
from ig3d_ray.training.runs import Run, all_cached

NEWS_SECONDS = 0.3
AGAIN_SECONDS = 1.0
LOST = (RayActorError, NodeDiedError, WorkerCrashedError, ObjectLostError)
# How long trainings have to write their checkpoints when this process is terminated.
LEAVE_SECONDS = 15.0
Event = dict[str, Any]


def train_runs(
    runs: Sequence[Run],
    resources: Resources,
    on_event: Callable[[Event], None],
    only: Set[str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Train missing members, with as many runs in parallel as fit.

    Args:
        on_event: called in this process with each worker's news: `member`, `epoch`, `score` ... .
        only: fingerprints of the members that are trained now; all by default.
        check: called periodically; an exception from it ends all trainings.

    Returns:
        fingerprint -> message, of the members that could not be trained.
    """
    # It exists as long as this process, independent of other machines.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board = _Board.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    wanted = {f for run in runs for f, _ in run.members if only is None or f in only}
    runs = [run for run in runs if any(f in wanted for f, _ in run.members)]
    failed: dict[str, str] = {}
    pool = ThreadPoolExecutor(len(runs) or 1)
    going: list[Future[dict[str, str]]] = []
    is_told, over = False, threading.Event()
    try:
        # As many as fit now, recomputed each time because the set of machines changes.
        while len(going) < len(runs) or not all(future.done() for future in going):
            if len(going) < len(runs):
                places = slots(resources)
                free = places.count - sum(not future.done() for future in going)
                if places.by_memory < min(places.wanted, len(runs) - len(going)) and not is_told:
                    is_told = True
                    on_event({"said": str(places)})
                next_ones = runs[len(going) : len(going) + max(0, free)]
                going += [pool.submit(_fit, run, wanted, resources, board, over) for run in next_ones]
            wait(going, timeout=NEWS_SECONDS)
            for event in ray.get(board.take.remote()):
                on_event(event)
            check()
    except (Terminated, SystemError) as ended:
        if not is_termination(ended):
            raise
        over.set()
        pool.shutdown(wait=False, cancel_futures=True)
        ray.get(board.stop.remote())
        wait(going, timeout=LEAVE_SECONDS)
        for event in ray.get(board.take.remote()):
            on_event(event)
        raise
    finally:
        over.set()
        # Don't wait: a user who interrupts a run doesn't want to wait for its trainings.
        pool.shutdown(wait=False, cancel_futures=True)
    cached = all_cached(Store(runs[0].storage), runs[0].dataset) if runs else set()
    for run, future in zip(runs, going, strict=True):
        error = future.exception()
        if error is not None:
            message = _one_line(error)
            failed |= {f: message for f, _ in run.members if f in wanted - cached}
        else:
            failed |= future.result()
            left = [f for f, _ in run.members if f in wanted - failed.keys() - cached]
            failed |= dict.fromkeys(left, "its run ended without it; start again")
    return failed


@ray.remote(num_cpus=0)
class _Board:
    """Where workers post reports for the driver, and read whether to stop and which members failed."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.failures: dict[str, str] = {}
        self.stopping = False

    def stop(self) -> None:
        self.stopping = True

    def is_stopping(self) -> bool:
        return self.stopping

    def give_up(self, failures: dict[str, str]) -> None:
        self.failures |= failures

    def given_up(self) -> dict[str, str]:
        return self.failures

    def post(self, event: Event) -> None:
        self.events.append(event)

    def take(self) -> list[Event]:
        events, self.events = self.events, []
        return events


def _fit(run: Run, wanted: Set[str], resources: Resources, board: Any, over: threading.Event) -> dict[str, str]:
    """Train a run until it is finished, wherever it fits; nothing is restarted once it is `over`."""
    store = Store(run.storage)
    config = {
        "storage": run.storage,
        "dataset": run.dataset,
        "members": [(fingerprint, spec_json(spec)) for fingerprint, spec in run.members],
        "wanted": sorted(wanted),
        "resources": resources.model_dump(),
        "board": board,
    }
    on_gpu = resources.gpus_per_worker > 0
    per_worker = {"CPU": float(resources.cpus_per_worker)} | ({"GPU": resources.gpus_per_worker} if on_gpu else {})
    trainer = _trainer(
        resources,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=resources.workers, use_gpu=on_gpu, resources_per_worker=per_worker),
        run_config=RunConfig(
            name=run.name,
            storage_path=paths.TRAIN,
            storage_filesystem=ray_filesystem(store),
            failure_config=FailureConfig(max_failures=resources.max_failures, controller_failure_limit=3),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    lost, has_waited = 0, False
    while True:
        try:
            failures, left = trainer.fit().return_value
        except (ControllerError, *LOST) as error:
            cause = getattr(error, "controller_failure", error)
            if compat.is_startup_timeout(cause):
                # Others use the resources, or machines start slowly: not a failure, however long it takes.
                if not has_waited:
                    has_waited = True
                    board.post.remote({"said": f"{_called(run)}: waiting for room for {_asked(resources)}"})
            else:
                # A machine was lost while Ray Train communicated with it: the run resumes from the storage.
                lost += 1
                if not isinstance(cause, LOST) or lost > resources.max_failures:
                    raise
            if over.wait(AGAIN_SECONDS):
                raise
            continue
        # A training that left a preempted machine resumes where it fits, and this is not a failure.
        if left != "preempted":
            return failures


def train_loop(config: dict[str, Any]) -> Any:
    """What each worker does. Torch is imported there: a controller per run would hold it on the driver's machine."""
    from ig3d_ray.on_ray.train_loop import train_loop as whole

    return whole(config)


def _trainer(resources: Resources, **options: Any) -> Any:
    if resources.workers == 1 and resources.gpus_per_worker == 0:
        # One worker needs no process group, and a controller without it starts in half the time.
        return compat.data_parallel_trainer(train_loop, **options)
    from ray.train.torch import TorchConfig

    # NCCL needs a GPU per worker; workers that share one communicate through gloo.
    config = TorchConfig(backend="nccl" if resources.gpus_per_worker >= 1 else "gloo")
    return compat.torch_trainer(train_loop, torch_config=config, **options)


def _called(run: Run) -> str:
    more = f" and {len(run.members) - 1} more" if len(run.members) > 1 else ""
    return run.members[0][1].name + more


def _asked(resources: Resources) -> str:
    gpus = f" and {resources.gpus_per_worker:g} GPUs" if resources.gpus_per_worker else ""
    return f"{resources.workers} x {resources.cpus_per_worker} CPUs{gpus}"


def _one_line(error: BaseException) -> str:
    """The error of a worker, without the traceback that Ray adds."""
    failures = getattr(error, "worker_failures", None)
    cause = next(iter(failures.values())) if failures else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(cause).__name__
