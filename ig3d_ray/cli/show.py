"""`ig3d ls` and `ig3d show`: what a storage holds, and one member or ensemble of it."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths

if TYPE_CHECKING:
    from ig3d_ray.storage.store import Store

Storage = Annotated[str, typer.Option(metavar="URI", help="A folder, or s3://bucket/prefix.")]


def ls(storage: Storage, dataset: Annotated[str | None, typer.Option(help="This one alone.")] = None) -> None:
    """Data sets, members and searches of a storage."""
    from ig3d_ray.data import datasets
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    names = [datasets.dataset(dataset).name] if dataset else sorted(datasets.DATASETS)
    if not sum(_list(store, name) for name in names):
        print(f"{store.uri}: holds {'nothing of ' + dataset if dataset else 'no data set, member or search'}")


def _list(store: "Store", dataset: str) -> bool:
    """Print what there is of a data set; whether there is anything."""
    from ig3d_ray.data.samples import load_samples
    from ig3d_ray.ensembles.spec import read_ensemble
    from ig3d_ray.evaluation.logits import LogitStore

    has_samples = store.exists(paths.samples_table(dataset))
    cards = sorted(LogitStore(store).members(dataset), key=lambda card: card.name)
    specs = [name for name in store.names(paths.searches_folder(dataset)) if name.endswith(paths.SPEC_FILE)]
    if not (has_samples or cards or specs):
        return False
    print(dataset)
    if has_samples:
        samples = load_samples(store, dataset)
        parts = ", ".join(f"{len(samples.in_split(split))} {split}" for split in ("train", "dev", "test"))
        print(f"  samples: {parts}; fingerprint {samples.fingerprint}")
    for card in cards:
        print(f"  member {card.fingerprint}  {card.view:6} {card.name}  ({', '.join(card.splits)})")
    for name in specs:
        spec = read_ensemble(store.locate(name))
        score = spec.scores.report.metrics[spec.objective]
        told = f"{spec.objective} {score.value:.4f} [{score.low:.4f}, {score.high:.4f}], {len(spec.members)} members"
        print(f"  search {name.rsplit('/', 1)[0]}: {told}")
    return True


def show(
    what: Annotated[str, typer.Argument(metavar="MEMBER|SPEC", help="A fingerprint, a member's name, or a spec.")],
    storage: Annotated[str | None, typer.Option(metavar="URI", help="Where the member lies.")] = None,
) -> None:
    """One member: its spec and outputs; or one exported ensemble: members, weights, scores."""
    if what.endswith(".json"):
        _show_spec(what)
        return
    if storage is None:
        raise Ig3dError(f"{what}: is this a member? Then say where with --storage URI; a spec's name ends with .json")
    _show_member(what, storage)


def _show_spec(uri: str) -> None:
    from ig3d_ray.ensembles.spec import read_ensemble

    spec = read_ensemble(uri)
    how = spec.fusion.label
    print(f"{spec.dataset}, {spec.objective}, protocol {spec.protocol.kind}; {how}")
    weights = spec.fusion.weight_texts(len(spec.members))
    for member, weight in zip(spec.members, weights, strict=True):
        print(f"  {weight:>8} {member.name} ({member.view}, {member.fingerprint})")
    for name, scores in (("selection", spec.scores.selection), ("report", spec.scores.report)):
        value = scores.metrics[spec.objective]
        told = ", optimistic" if scores.optimistic else ""
        print(f"  {name}: {value.value:.4f} [{value.low:.4f}, {value.high:.4f}] on {scores.n} of {scores.split}{told}")
    single = spec.compared_with["best_single"]
    print(f"  gain over {single.label}: {single.gain.value:+.4f} [{single.gain.low:+.4f}, {single.gain.high:+.4f}]")
    for fallback in spec.fallbacks:
        others = " + ".join(fallback.members)
        print(f"  without {', '.join(fallback.lacking)}: {others}, {fallback.selection:.4f} (selection)")


def _show_member(what: str, storage: str) -> None:
    from ig3d_ray.data import datasets
    from ig3d_ray.evaluation.logits import LogitStore
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    found = 0
    for dataset in sorted(datasets.DATASETS):
        for card in LogitStore(store).members(dataset):
            if what not in (card.fingerprint, card.name):
                continue
            found += 1
            print(f"{dataset}: {card.name} ({card.view}, {card.fingerprint}); outputs on {', '.join(card.splits)}")
            for field, value in json.loads(card.spec).items():
                print(f"  {field}: {json.dumps(value)}")
    if not found:
        raise Ig3dError(f"{store.uri}: no member {what}; `ig3d ls --storage {storage}` lists them")
