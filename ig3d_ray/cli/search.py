"""`ig3d search`: the search over what a storage holds."""

from ig3d_ray.cli.options import Address, AsJson, Overrides, Risk, SpaceFile, Storage
from ig3d_ray.cli.outcome import Mlflow, OptunaStorage, show_outcome, tracking_at


def search(
    space_file: SpaceFile,
    storage: Storage,
    overrides: Overrides = None,
    risk: Risk = None,
    address: Address = None,
    optuna_storage: OptunaStorage = None,
    mlflow: Mlflow = None,
    as_json: AsJson = False,
) -> None:
    """Search the cached logits, imported members included; in this process, or on a cluster with --address."""
    from ig3d_ray.cli.terminal import interruptible, log_to_stderr
    from ig3d_ray.config.load import load_space
    from ig3d_ray.data.declared import use_declarations
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow import pipeline
    from ig3d_ray.workflow.progress import Reporter

    reporter = Reporter(log_to_stderr())
    store = Store(storage)
    use_declarations(store)
    abstain = [] if risk is None else [f"abstain_above_risk={risk}"]
    space = load_space(space_file, (*(overrides or ()), *abstain))
    store.check_there()
    store.prepare()
    tracking = tracking_at(mlflow, space)
    with interruptible():
        if address is None:
            outcome = pipeline.search_store(store, space, space_file.stem, reporter, optuna_storage)
        else:
            outcome = pipeline.search_on_cluster(store, space, space_file.stem, address, reporter, optuna_storage)
    show_outcome(space, outcome, store, as_json, tracking)
