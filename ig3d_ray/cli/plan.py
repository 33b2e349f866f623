"""`ig3d plan`: what a run would train, and what that would take."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.cli.options import Overrides, SpaceFile, Storage
from ig3d_ray.cli.say import say

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from ig3d_ray.config.resources import Resources
    from ig3d_ray.config.search_space import SearchSpace
    from ig3d_ray.training.schedule import Forecast
    from ig3d_ray.workflow.inventory import Inventory, Wanted

BASES = {
    "measured": "trainings by earlier ones on such a device",
    "scaled": "by earlier ones on another, by the ratio of the makers' peak rates",
    "assumed": "by the network's arithmetic at a usual part of the device's peak rate",
}
STATES = {"cached": "cached", "train": "to train", "import": "missing: ig3d import predictions"}


def plan(
    space_file: SpaceFile,
    storage: Storage,
    overrides: Overrides = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="Number of GPUs.")] = None,
    gpu_type: Annotated[str | None, typer.Option(metavar="NAME", help="Type of the GPUs: T4, A10G, A100, ...")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Price of one GPU for an hour, in any currency.")] = None,
) -> None:
    """Show what a run would train and what that would take; start nothing."""
    from ig3d_ray.cli.terminal import stdout_console
    from ig3d_ray.config.load import load_space
    from ig3d_ray.data.declared import use_declarations
    from ig3d_ray.storage import paths
    from ig3d_ray.storage.store import Store
    from ig3d_ray.workflow.inventory import take_inventory
    from ig3d_ray.workflow.train import Machines, forecast_training, to_train, what_is_missing

    store, console = Store(storage), stdout_console()
    use_declarations(store)
    space = load_space(space_file, tuple(overrides or ()))
    machines = Machines.asked(store, space, gpus, gpu_type, price)
    inventory = take_inventory(store, space)
    console.print(render_plan(space, inventory, store.uri))
    forecast = forecast_training(store, space, inventory, machines)
    if forecast is not None:
        console.print(render_forecast(forecast, space.resources, machines.device, machines.count, price))
    elif to_train(inventory):
        where = store.locate(paths.samples_table(space.dataset))
        say(f"time:   no estimate: {where} does not exist, so there are no samples to count; see docs/own-data.md")
    for problem in what_is_missing(store, space, inventory):
        say(f"missing: {problem}")


def render_plan(space: "SearchSpace", inventory: "Inventory", uri: str) -> "Group":
    """What a run would do.

    Args:
        space: the search space.
        inventory: what the storage holds of it.
        uri: of the storage.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{space.dataset} in {uri}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("member", "view", "state"):
        table.add_column(name, overflow="fold")
    counts = dict.fromkeys(STATES, 0)
    for wanted in inventory.wanted:
        state = _state(wanted, space.protocol.splits)
        counts[state] += 1
        table.add_row(wanted.spec.name, wanted.spec.view, STATES[state])
    for card in inventory.others:
        table.add_row(card.name, card.view, "imported, not named in the space")
    return Group(table, Text("\n".join(_plan_lines(space, inventory, counts))))


def _state(wanted: "Wanted", splits: "Sequence[str]") -> str:
    from ig3d_ray.models.registry import has_network
    from ig3d_ray.training.runs import TRAINED_SPLITS

    if has_network(wanted.spec):
        return "cached" if wanted.ready_for(TRAINED_SPLITS) else "train"
    return "cached" if wanted.ready_for(splits) else "import"


def _plan_lines(space: "SearchSpace", inventory: "Inventory", counts: dict[str, int]) -> list[str]:
    from ig3d_ray.report.text import PROTOCOLS

    needs, parts = space.resources, space.protocol.parts
    each = f"{needs.workers} x ({needs.cpus_per_worker} CPU, {needs.gpus_per_worker:g} GPU)"
    data = "samples table stored" if inventory.dataset_fingerprint else "no samples table yet: see `ig3d data --help`"
    if space.data and not inventory.dataset_fingerprint:
        data = f"{space.data.samples} faces will be drawn"
    search = f"all pairs, strategies and spaces up to {space.search.enumerate_up_to:,}, each method on all members"
    search += f", up to {space.search.budget} subsets by Optuna" + (f", on {parts} selection sets" if parts > 1 else "")
    lines = [
        f"data:   {data}",
        f"train:  {counts['train']} members, {counts['cached']} cached; each run takes {each}",
        f"search: {search}; for {space.objective}; {PROTOCOLS[space.protocol.kind]}",
    ]
    if counts["import"]:
        lines.append(f"import: {counts['import']} members are missing (`ig3d import predictions`) and excluded")
    return lines


def render_forecast(found: "Forecast", needs: "Resources", device: str, devices: int, price: float | None) -> "Text":
    """What the trainings that are missing will take.

    Args:
        found: the forecast.
        needs: what one training run asks for.
        device: `cpu`, or a GPU's name.
        devices: number of GPUs, or of CPUs.
        price: of a GPU for an hour; None for no price.
    """
    from rich.text import Text

    from ig3d_ray.training.runs import START_SECONDS

    each = needs.workers * (needs.gpus_per_worker if device != "cpu" else needs.cpus_per_worker)
    unit = "CPU" if device == "cpu" else f"{device} GPU"
    used = found.busy * each
    money = f", {used * price:,.2f} at {price:g} per hour" if price is not None else ""
    name, others, longest = found.longest
    run = name + (f" and {others - 1} more in one run" if others > 1 else "")
    enough = math.ceil(math.ceil(found.busy / longest) * each)
    bases = ", ".join(f"{count} {BASES[basis]}" for basis, count in found.bases.items() if count)
    hours = f"{used:,.1f}" if used >= 1 else f"{used:.2g}"
    lines = [
        f"time:   {found.runs} Ray Train runs, about {_hours(found.hours)} on {devices} {unit}s:"
        f" {hours} {unit} hours{money}",
        f"path:   the longest is {run}: {_hours(longest)}; more than {enough} {unit}s would not end it sooner",
        f"from:   {bases}; starting a run takes {START_SECONDS:.0f} s",
    ]
    if each < needs.workers and device != "cpu":
        lines[-1] += "; as fast on a part of a GPU as on a whole one"
    return Text("\n".join(lines))


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{hours * 60:.0f} min" if hours * 60 >= 1 else f"{hours * 3600:.0f} s"
