"""Finding the spec that an argument means: its file, the folder of its search, or the search's name in a storage."""

from pathlib import Path

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths

SHOWN = 3


def spec_at(what: str, storage: str | None) -> str:
    """The path or URI of a `best_ensemble.json`.

    Args:
        what: the file or URI itself, or its search's folder; with a storage also the search's name, as `ig3d ls` shows
            it: `faces-1a2b3c4d`, `faces/faces-1a2b3c4d` or `searches/faces/faces-1a2b3c4d`.
        storage: where a name is looked up.

    Raises:
        Ig3dError: there is no such file, folder or search, or several searches have this name.
    """
    if what.endswith(".json"):
        return what
    if "://" in what:
        return f"{what.rstrip('/')}/{paths.SPEC_FILE}"
    place = Path(what)
    if place.is_dir():
        if not (place / paths.SPEC_FILE).is_file():
            raise Ig3dError(f"{what}: has no {paths.SPEC_FILE}; give a finished search's folder, see `ig3d ls`")
        return str(place / paths.SPEC_FILE)
    if place.is_file():
        return what
    if storage is None:
        raise Ig3dError(
            f"{what}: no such file or folder; give a best_ensemble.json, its folder, or --storage URI with a search's"
            " name from `ig3d ls`"
        )
    return _named(what, storage)


def _named(name: str, storage: str) -> str:
    from ig3d_ray.storage.store import Store

    store = Store(storage)
    there = [
        one.removesuffix(f"/{paths.SPEC_FILE}") for one in store.names("searches") if one.endswith(paths.SPEC_FILE)
    ]
    found = [one for one in there if f"/{one}".endswith(f"/{name.strip('/')}")]
    if len(found) == 1:
        return store.locate(paths.ensemble_spec(found[0]))
    if found:
        raise Ig3dError(f"{name}: {len(found)} searches have this name: {', '.join(found[:SHOWN])}; give one of them")
    known = ", ".join(one.removeprefix("searches/") for one in there[:SHOWN]) or "none"
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    raise Ig3dError(f"{name}: no file, folder or search in {store.uri}; it has {known}{more}")
