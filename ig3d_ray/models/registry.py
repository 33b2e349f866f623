"""The kinds of networks: one folder each, loaded when it is used."""

import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from typing_extensions import TypeIs

from ig3d_ray.errors import Ig3dError

if TYPE_CHECKING:
    from ig3d_ray.models.spec import AnySpec, TrainedSpec

# A new kind is a folder beside this file, and a line here.
KINDS = (
    "cage",
    "cnn",
    "ddamfn",
    "intermediate",
    "mlp3d",
    "module",
    "timm",
)
IMPORTED = "imported"


@cache
def spec_class(kind: str) -> "type[TrainedSpec]":
    """The spec class of a kind: `SPEC` in its `spec.py`. Loads no torch.

    Raises:
        Ig3dError: there is no such kind; the message lists the known kinds.
    """
    if kind not in KINDS:
        raise Ig3dError(f"kind: {kind!r}; allowed: {', '.join((*KINDS, IMPORTED))}")
    spec: type[TrainedSpec] = import_module(f"ig3d_ray.models.{kind}.spec").SPEC
    return spec


def network_module(kind: str) -> ModuleType:
    """The module that builds networks of a kind: `build` in its `network.py`. Loads torch."""
    return import_module(f"ig3d_ray.models.{kind}.network")


def has_network(spec: "AnySpec") -> TypeIs["TrainedSpec"]:
    """Whether a member has a network, or else is known by its predictions alone."""
    return spec.kind != IMPORTED


def parse_spec(text: str) -> "AnySpec":
    """The spec that `spec_json` wrote.

    Raises:
        Ig3dError: its kind is unknown.
        pydantic.ValidationError: a field is wrong.
    """
    from ig3d_ray.models.spec import ImportedSpec

    kind = json.loads(text).get("kind")
    return ImportedSpec.model_validate_json(text) if kind == IMPORTED else spec_class(kind).model_validate_json(text)


def parse_trained_spec(text: str) -> "TrainedSpec":
    """The spec of a member with a network, as `spec_json` wrote it.

    Raises:
        Ig3dError: it is that of imported predictions, or its kind is unknown.
        pydantic.ValidationError: a field is wrong.
    """
    spec = parse_spec(text)
    if not has_network(spec):
        raise Ig3dError(f"{spec.name}: imported as predictions; it has no network")
    return spec


def expand(item: Mapping[str, Any]) -> "Iterator[AnySpec]":
    """The members of one item of a search space's pool: every field may be a list, and lists expand to their product.

    Args:
        item: `kind` and the fields of its spec class, each a value or a list of values.

    Raises:
        Ig3dError: the kind is missing or unknown, or a list is empty.
        pydantic.ValidationError: a field is wrong.
    """
    from ig3d_ray.models.spec import ImportedSpec, TrainedSpec

    if "kind" not in item:
        raise Ig3dError(f"kind: is missing; allowed: {', '.join((*KINDS, IMPORTED))}")
    if item["kind"] == IMPORTED:
        yield ImportedSpec.model_validate(item)
        return
    of_kind = spec_class(item["kind"])
    for name in TrainedSpec.DERIVED & item.keys():
        raise Ig3dError(f"{name}: follows from the rest of the search space; remove it")
    # The kind's own fields vary slowest, then losses and seeds.
    own = [name for name in of_kind.model_fields if name not in TrainedSpec.model_fields]
    order = [*own, *TrainedSpec.model_fields]
    names = sorted(item, key=lambda name: order.index(name) if name in order else len(order))
    choices = [_choices(name, item[name]) for name in names]
    for values in itertools.product(*choices):
        yield of_kind.model_validate(dict(zip(names, values, strict=True)))


def _choices(name: str, value: Any) -> list[Any]:
    choices = list(value) if isinstance(value, list | tuple) else [value]
    if not choices:
        raise Ig3dError(f"{name}: is empty; list at least one")
    return choices
