"""Ray Train around the training loop: workers, a checkpoint per epoch, resume, logits when a member is done.

A run trains a list of members one after another, since starting workers takes longer than a small
training. Its name follows from that list, so a run that was killed, with its driver or without, goes on
from its last epoch when it is started again anywhere that sees the same storage.
"""

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.collective import barrier, broadcast_from_rank_zero
from ray.train.torch import TorchConfig, TorchTrainer

from ig3d_ray.data import catalog
from ig3d_ray.data.samples import Samples, load_samples
from ig3d_ray.errors import Ig3dError
from ig3d_ray.logits import LogitStore
from ig3d_ray.members.build import Standardised, build_network, member_inputs, member_samples
from ig3d_ray.members.checkpoint import checkpoint_name, from_bytes, load_checkpoint, save_checkpoint, to_bytes
from ig3d_ray.members.inference import logit_table
from ig3d_ray.members.runs import FOLDER, TRAINED_SPLITS, Run, is_cached, is_trained
from ig3d_ray.members.spec import TrainableSpec, parse_spec, spec_json
from ig3d_ray.members.training import Epoch, Labelled, Trainer, Worker
from ig3d_ray.on_ray.cluster import slots
from ig3d_ray.space import Resources
from ig3d_ray.storage import Store
from ig3d_ray.tables import table_to_bytes

STATE_FILE = "state.pt"
NEWS_SECONDS = 0.3
Event = dict[str, Any]


def train_runs(runs: Sequence[Run], resources: Resources, on_event: Callable[[Event], None]) -> dict[str, str]:
    """Train what is missing, as many runs side by side as fit.

    Args:
        on_event: called in this process with each worker's news: `member`, `epoch`, `score` ... .

    Returns:
        fingerprint -> message, of the members that could not be trained.
    """
    board = _Board.remote()  # type: ignore[attr-defined]
    failed: dict[str, str] = {}
    pool = ThreadPoolExecutor(slots(resources))
    try:
        going = [pool.submit(_fit, run, resources, board) for run in runs]
        over = False
        while not over:
            over = not wait(going, timeout=NEWS_SECONDS).not_done
            for event in ray.get(board.take.remote()):
                on_event(event)
    finally:
        # Not waiting: who interrupts a run does not want to see its trainings out.
        pool.shutdown(wait=False, cancel_futures=True)
    for run, future in zip(runs, going, strict=True):
        error = future.exception()
        if error is not None:
            store = Store(run.storage)
            told = _one_line(error)
            failed |= {f: told for f, _ in run.members if not is_cached(store, run.dataset, f)}
        else:
            failed |= future.result()
    return failed


@ray.remote(num_cpus=0)
class _Board:
    """Where workers leave news for the driver."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def post(self, event: Event) -> None:
        self.events.append(event)

    def take(self) -> list[Event]:
        events, self.events = self.events, []
        return events


def _fit(run: Run, resources: Resources, board: Any) -> dict[str, str]:
    store = Store(run.storage)
    config = {
        "storage": run.storage,
        "dataset": run.dataset,
        "members": [(fingerprint, spec_json(spec)) for fingerprint, spec in run.members],
        "threads": resources.cpus_per_worker,
        "on_gpu": resources.gpus_per_worker > 0,
        "board": board,
    }
    on_gpu = resources.gpus_per_worker > 0
    per_worker = {"CPU": float(resources.cpus_per_worker)} | ({"GPU": resources.gpus_per_worker} if on_gpu else {})
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config=config,
        # NCCL needs a GPU per worker; workers that share one talk through gloo.
        torch_config=TorchConfig(backend="nccl" if resources.gpus_per_worker >= 1 else "gloo"),
        scaling_config=ScalingConfig(num_workers=resources.workers, use_gpu=on_gpu, resources_per_worker=per_worker),
        run_config=RunConfig(
            name=run.name,
            storage_path=store.locate(FOLDER),
            failure_config=FailureConfig(max_failures=resources.max_failures, controller_failure_limit=3),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    failures: dict[str, str] = trainer.fit().return_value or {}
    return failures


def _train_loop(config: dict[str, Any]) -> dict[str, str]:
    """On each worker: train what is missing, in order. Rank 0 publishes."""
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(config["threads"])
    store = Store(config["storage"])
    samples = load_samples(store, config["dataset"])
    resumed = _last_state()
    todo = [f for f, _ in config["members"] if not is_cached(store, config["dataset"], f)]
    if world > 1:
        # What is cached is decided once: rank 0 publishes while the others look.
        todo = broadcast_from_rank_zero(todo)
    failures = {}
    for fingerprint, text in config["members"]:
        if fingerprint not in todo:
            continue
        spec = parse_spec(text)
        assert isinstance(spec, TrainableSpec)
        state = resumed["state"] if resumed and resumed["member"] == fingerprint else None
        try:
            network, history = _trained(config, store, samples, fingerprint, spec, state, rank, world)
            if rank == 0:
                _publish(config, store, samples, fingerprint, spec, network, history)
        except Exception as error:
            # Workers of one training must fail together, or some would wait for the others.
            if world > 1 and not isinstance(error, Ig3dError):
                raise
            failures[fingerprint] = str(error) if isinstance(error, Ig3dError) else f"{type(error).__name__}: {error}"
        if world > 1:
            barrier()
    return failures


def _last_state() -> dict[str, Any] | None:
    """The state at the last epoch that Ray Train has registered, of whichever member it was."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        path = Path(folder) / STATE_FILE
        return from_bytes(path.read_bytes(), str(path))


def _device(config: dict[str, Any]) -> torch.device:
    # Ray shows a worker the GPUs that it was given, so the first is its own.
    return torch.device("cuda", 0) if config["on_gpu"] else torch.device("cpu")


def _labelled(config: dict[str, Any], spec: TrainableSpec, samples: Samples, split: str, store: Store) -> Labelled:
    """A split's inputs and labels on the device; that the labels are there was checked before Ray was started."""
    chosen, device = member_samples(spec, samples, split), _device(config)
    va = torch.from_numpy(chosen.va)
    inputs = member_inputs(spec, chosen, store).to(device)
    return Labelled(inputs, torch.from_numpy(chosen.expression).to(device), va.nan_to_num().to(device))


def _trained(
    config: dict[str, Any],
    store: Store,
    samples: Samples,
    fingerprint: str,
    spec: TrainableSpec,
    state: dict[str, Any] | None,
    rank: int,
    world: int,
) -> tuple[Standardised, list[dict[str, float]] | None]:
    """The trained network; without a history if its weights were published before and only logits are missing."""
    dataset = config["dataset"]
    if is_trained(store, dataset, fingerprint):
        return load_checkpoint(store, dataset, fingerprint).to(_device(config)), None
    torch.manual_seed(spec.seed)
    network = build_network(spec, catalog.dataset(dataset)).to(_device(config))
    worker = Worker()
    if world > 1:
        wrap = torch.nn.parallel.DistributedDataParallel
        worker = Worker(rank, world, wrap, lambda score: float(broadcast_from_rank_zero(score)))
    trainer = Trainer(
        network=network,
        train=_labelled(config, spec, samples, "train", store),
        dev=_labelled(config, spec, samples, "dev", store),
        loss=spec.loss,
        recipe=spec.recipe,
        seed=spec.seed,
        classes=len(catalog.dataset(dataset).class_names),
        monitor=spec.monitor,
        worker=worker,
    )

    def on_epoch(epoch: Epoch, current: Callable[[], dict[str, Any]]) -> None:
        numbers = {"epoch": epoch.number, "loss": epoch.loss, "score": epoch.score}
        if rank == 0:
            news = {"member": spec.name, "epochs": spec.recipe.epochs, "best": epoch.best_score}
            config["board"].post.remote(numbers | news)
        _report(numbers, {"member": fingerprint, "state": current()} if rank == 0 else None)

    return network, trainer.run(on_epoch, state)


def _report(numbers: dict[str, float], state: dict[str, Any] | None) -> None:
    """Tell Ray Train about an epoch, with a checkpoint from rank 0."""
    if state is None:
        ray.train.report(numbers)
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / STATE_FILE).write_bytes(to_bytes(state))
        name = f"{state['member']}-{int(numbers['epoch']):05d}"
        ray.train.report(numbers, checkpoint=Checkpoint.from_directory(folder), checkpoint_dir_name=name)


def _publish(
    config: dict[str, Any],
    store: Store,
    samples: Samples,
    fingerprint: str,
    spec: TrainableSpec,
    network: Standardised,
    history: list[dict[str, float]] | None,
) -> None:
    """Weights, then the spec that says they are whole, then the logits that say the member is done."""
    dataset = config["dataset"]
    folder = f"members/{dataset}/{fingerprint}"
    if history is not None:
        store.write(f"{folder}/history.parquet", table_to_bytes(pa.Table.from_pylist(history)))
        save_checkpoint(store, dataset, fingerprint, spec, network)
        store.write(f"{folder}/spec.json", spec_json(spec).encode() + b"\n")
    # From the published bytes, so that the cache holds what anyone gets who loads them.
    loaded = load_checkpoint(store, dataset, fingerprint).to(_device(config))
    logits = LogitStore(store)
    for split in TRAINED_SPLITS:
        logits.write(logit_table(loaded, spec, fingerprint, samples, split, store))
    size = len(store.read(checkpoint_name(dataset, fingerprint)))
    config["board"].post.remote({"member": spec.name, "cached": True, "bytes": size})


def _one_line(error: BaseException) -> str:
    """What went wrong on a worker, without the traceback that Ray wraps it in."""
    failures = getattr(error, "worker_failures", None)
    cause = next(iter(failures.values())) if failures else error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return lines[-1] if lines else type(cause).__name__
