"""`ig3d plan`: what a run would train, and what that would take."""

import math

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ig3d_ray.config.resources import Resources
from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.models.registry import has_network
from ig3d_ray.report.text import PROTOCOLS
from ig3d_ray.training.runs import TRAINED_SPLITS
from ig3d_ray.training.schedule import START_SECONDS, Forecast
from ig3d_ray.workflow.inventory import Inventory

BASES = {
    "measured": "trainings by earlier ones on such a device",
    "scaled": "by earlier ones on another, by the ratio of the makers' peak rates",
    "assumed": "by the network's arithmetic at a usual part of the device's peak rate",
}


def render_plan(space: SearchSpace, inventory: Inventory, uri: str) -> Group:
    """What a run would do."""
    table = Table(title=f"{space.dataset} in {uri}", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("member", "view", "state"):
        table.add_column(name, overflow="fold")
    splits, counts = space.protocol.splits, {"train": 0, "cached": 0, "bring": 0}
    for wanted in inventory.wanted:
        imported = not has_network(wanted.spec)
        state = (
            "cached" if wanted.ready_for(splits if imported else TRAINED_SPLITS) else "bring" if imported else "train"
        )
        counts[state] += 1
        words = {"cached": "cached", "train": "to train", "bring": "missing: ig3d import predictions"}
        table.add_row(wanted.spec.name, wanted.spec.view, words[state])
    for card in inventory.others:
        table.add_row(card.name, card.view, "imported, not named in the space")
    needs, parts = space.resources, space.protocol.parts
    each = f"{needs.workers} x ({needs.cpus_per_worker} CPU, {needs.gpus_per_worker:g} GPU)"
    drawn = (
        f"{space.data.samples} faces will be drawn" if space.data else "no samples table yet: README, 'Your own data'"
    )
    lines = [
        f"data:   {'samples table is there' if inventory.dataset_fingerprint else drawn}",
        f"train:  {counts['train']} members, {counts['cached']} cached; each run takes {each}",
        f"search: all pairs, strategies and spaces up to {space.search.enumerate_up_to:,}, each method on all"
        f" members, up to {space.search.budget} subsets by Optuna"
        + (f", on each of {parts} selection sets" if parts > 1 else "")
        + f"; for {space.objective}; {PROTOCOLS[space.protocol.kind]}",
    ]
    if counts["bring"]:
        lines.append(f"bring:  {counts['bring']} members, with `ig3d import predictions`; the search goes without them")
    return Group(table, Text("\n".join(lines)))


def render_forecast(found: Forecast, needs: Resources, device: str, devices: int, price: float | None) -> Text:
    """What the trainings that are missing will take.

    Args:
        device: `cpu`, or a GPU's name. devices: how many GPUs, or CPUs. price: of a GPU for an hour.
    """
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
