"""What must hold within a spec beyond its fields' types: what it says in two places agrees, and it can be applied."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ig3d_ray.data import datasets, representations
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.models.registry import has_network
from ig3d_ray.models.spec import fingerprint

# `EnsembleSpec`, `EnsembleMember` and `Fallback` of ensembles/spec.py, which imports this module.
Spec = Any
Member = Any
SpecFallback = Any
HEX = set("0123456789abcdef")
SHA256_DIGITS = 64


def check_spec(spec: Spec) -> None:
    """Check a spec as a whole.

    Args:
        spec: whose fields have the right types.

    Raises:
        ValueError: something in it contradicts something else, or could not be applied.
    """
    _check_classes(spec)
    if not spec.members:
        raise ValueError("members: is empty; list at least one")
    for field in ("name", "fingerprint"):
        _check_distinct(f"members.{field}", [getattr(member, field) for member in spec.members])
    for member in spec.members:
        _check_member(member, spec)
    _check_fusion("fusion", spec.fusion, len(spec.members), spec)
    _check_distinct("fallbacks.missing", [fallback.missing for fallback in spec.fallbacks])
    for number, fallback in enumerate(spec.fallbacks):
        _check_fallback(f"fallbacks.{number}", fallback, spec)
    for name, used in spec.encoders.items():
        _check_hash(f"encoders.{name}.sha256", used.sha256)


def _check_classes(spec: Spec) -> None:
    about = datasets.find(spec.dataset)
    if about is not None and tuple(about.class_names) != spec.class_names:
        raise ValueError(f"class_names: {', '.join(spec.class_names)[:80]}: not those of {spec.dataset}")
    _check_distinct("class_names", spec.class_names)
    if spec.task.has_classes and len(spec.class_names) < 2:
        raise ValueError("class_names: fewer than two")


def _check_member(member: Member, spec: Spec) -> None:
    parsed, where = member.parsed, f"members.{member.name}"
    if (parsed.kind, parsed.view) != (member.kind, member.view):
        raise ValueError(
            f"{where}: is a {member.kind} of view {member.view}, its spec a {parsed.kind} of {parsed.view}"
        )
    if has_network(parsed):
        if member.checkpoint is None:
            raise ValueError(f"{where}.checkpoint: is missing, and it has a network")
        _check_hash(f"{where}.checkpoint_sha256", member.checkpoint_sha256)
    else:
        if fingerprint(spec.dataset, "", parsed) != member.fingerprint:
            raise ValueError(f"{where}.fingerprint: {member.fingerprint[:20]} is not that of its spec")
        for split in (spec.scores.selection.split, spec.scores.report.split):
            _check_hash(f"{where}.logits_sha256.{split}", member.logits_sha256.get(split))


def _check_fallback(where: str, fallback: SpecFallback, spec: Spec) -> None:
    features = {member.name: set(member.features) for member in spec.members}
    unknown = [name for name in fallback.members if name not in features]
    if unknown or not fallback.members:
        raise ValueError(f"{where}.members: {unknown[0] if unknown else 'none'}: no member of the ensemble")
    _check_distinct(f"{where}.members", fallback.members)
    if not fallback.missing or list(fallback.missing) != sorted(set(fallback.missing)):
        raise ValueError(f"{where}.missing: {', '.join(fallback.missing)}: name each missing input once, sorted")
    for name in fallback.members:
        lacks = features[name] & set(fallback.missing)
        if lacks:
            raise ValueError(f"{where}: {name} needs {min(lacks)}, which is missing there")
    if fallback.fusion.representation in fallback.missing:
        raise ValueError(f"{where}: its gate needs {fallback.fusion.representation}, which is missing there")
    _check_fusion(f"{where}.fusion", fallback.fusion, len(fallback.members), spec)


def _check_fusion(where: str, fusion: Fusion, members: int, spec: Spec) -> None:
    if fusion.strategy is None and members != 1:
        raise ValueError(f"{where}.strategy: none, for {members} members")
    for name in ("weights", "weights_by_column", "temperatures", "floors"):
        given = getattr(fusion, name)
        if given is not None and len(given) != members:
            raise ValueError(f"{where}.{name}: {len(given)} for {members} members")
    width = spec.task.width(len(spec.class_names))
    if fusion.correction is not None and len(fusion.correction.bias) != width:
        raise ValueError(f"{where}.correction: of {len(fusion.correction.bias)} classes, but {width} outputs")
    if fusion.gate is not None and fusion.representation is not None:
        about = representations.find(fusion.representation)
        if about is None:
            raise ValueError(f"{where}.gate.representation: {fusion.representation[:40]!r} is unknown here")
        if max(fusion.gate.parameters) >= about.width:
            raise ValueError(f"{where}.gate.parameters: {max(fusion.gate.parameters)} of {about.width} from 0 on")
    for row in fusion.weights_by_column or ():
        if len(row) != width:
            raise ValueError(f"{where}.weights_by_column: {len(row)} weights of a member, but {width} outputs")
    if not all(math.isfinite(weight) and weight >= 0 for weight in _flat(fusion.all_weights or ())):
        raise ValueError(f"{where}: weights are finite and not negative")
    if fusion.all_weights is not None and not any(_flat(fusion.all_weights)):
        raise ValueError(f"{where}: all weights are 0")
    if not all(math.isfinite(warm) and warm > 0 for warm in fusion.temperatures or ()):
        raise ValueError(f"{where}.temperatures: are finite and above 0")
    if not all(0 < floor < 1 for floor in fusion.floors or ()):
        raise ValueError(f"{where}.floors: are between 0 and 1")


def _flat(weights: Iterable[float | tuple[float, ...]]) -> list[float]:
    return [one for row in weights for one in (row if isinstance(row, tuple) else (row,))]


def _check_distinct(where: str, values: Sequence[object]) -> None:
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise ValueError(f"{where}: {str(twice)[:60]} occurs twice")


def _check_hash(where: str, value: str | None) -> None:
    if value is None or len(value) != SHA256_DIGITS or not set(value) <= HEX:
        raise ValueError(f"{where}: is missing or no SHA-256")
