"""`ig3d show`: one member or one exported ensemble."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ig3d_ray.cli.locate import spec_at
from ig3d_ray.cli.say import say
from ig3d_ray.errors import Ig3dError


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MEMBER|SPEC",
            help="A member's fingerprint or name; a best_ensemble.json, its folder or its search's name.",
        ),
    ],
    storage: Annotated[
        str | None, typer.Option("--storage", metavar="URI", help="Storage of the member; not needed for a spec.")
    ] = None,
) -> None:
    """Show a member's spec and outputs; or an exported ensemble's members, weights and scores."""
    if what.endswith(".json") or Path(what).is_dir() or "://" in what:
        _show_spec(spec_at(what, storage))
        return
    if storage is None:
        raise Ig3dError(f"{what}: no such file or folder; for a member's or a search's name also give --storage URI")
    if not _show_member(what, storage):
        try:
            found = spec_at(what, storage)
        except Ig3dError as error:
            raise Ig3dError(
                f"{storage}: no member nor search {what}; `ig3d ls --storage {storage}` lists them"
            ) from error
        _show_spec(found)


def _show_spec(uri: str) -> None:
    from ig3d_ray.ensembles.spec import read_ensemble

    spec = read_ensemble(uri)
    say(f"{spec.dataset}, {spec.objective}, protocol {spec.protocol.kind}; {spec.fusion.label}")
    for member, weight in zip(spec.members, spec.fusion.weight_texts(len(spec.members)), strict=True):
        say(f"  {weight:>8} {member.name} ({member.view}, {member.fingerprint})")
    for name, scores in (("selection", spec.scores.selection), ("report", spec.scores.report)):
        value = scores.metrics[spec.objective]
        optimistic = ", optimistic" if scores.optimistic else ""
        interval = f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"
        say(f"  {name}: {interval} on {scores.n} samples of {scores.split}{optimistic}")
    single = spec.compared_with["best_single"]
    say(f"  gain over {single.label}: {single.gain.value:+.4f} [{single.gain.low:+.4f}, {single.gain.high:+.4f}]")
    for fallback in spec.fallbacks:
        others = " + ".join(fallback.members)
        say(f"  without {', '.join(fallback.missing)}: {others}, {fallback.selection:.4f} (selection)")


def _show_member(what: str, storage: str) -> bool:
    from ig3d_ray.data import datasets
    from ig3d_ray.evaluation.logits import LogitStore
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    found = 0
    for dataset in datasets.known_in(store):
        for card in LogitStore(store).members(dataset):
            if what not in (card.fingerprint, card.name):
                continue
            found += 1
            say(f"{dataset}: {card.name} ({card.view}, {card.fingerprint}); outputs on {', '.join(card.splits)}")
            for field, value in json.loads(card.spec).items():
                say(f"  {field}: {json.dumps(value)}")
    return found > 0
