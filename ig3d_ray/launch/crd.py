"""A KubeRay manifest against the schema of its kind, as the cluster's operator defines it; unknown fields are rejected.

Kubernetes silently drops unknown fields: `maxReplica: 8` is a group without a limit.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ig3d_ray.errors import Ig3dError
from ig3d_ray.launch.faults import Fault

try:  # ten times as fast, where PyYAML was built with it
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

_COMBINATIONS = ("allOf", "anyOf", "oneOf", "not")


def check_schema(manifest: dict[str, Any], crd: Path) -> Iterator[Fault]:
    """What the schema rejects in a manifest.

    Args:
        crd: a CustomResourceDefinition, such as `kubectl get crd rayjobs.ray.io -o yaml` prints.

    Raises:
        Ig3dError: the file holds no definition of this manifest's kind.
    """
    import jsonschema

    schema = _closed(_schema(manifest, crd))
    schema["properties"]["metadata"] = {"type": "object"}
    for error in jsonschema.Draft7Validator(schema).iter_errors(manifest):
        where = ".".join(str(step) for step in error.absolute_path) or "(top)"
        yield Fault("schema", where, error.message if len(error.message) < 300 else error.message[:300] + " ...")


def _schema(manifest: dict[str, Any], crd: Path) -> dict[str, Any]:
    try:
        content = yaml.load(crd.read_text(), Loader=SafeLoader)
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise Ig3dError(f"{crd}: cannot be read as YAML: {reason}; give what `kubectl get crd` prints") from error
    try:
        kind, versions = content["spec"]["names"]["kind"], content["spec"]["versions"]
        version = str(manifest.get("apiVersion")).rpartition("/")[2]
        found: dict[str, Any] = next(v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == version)
    except (KeyError, TypeError, StopIteration) as error:
        raise Ig3dError(f"{crd}: no definition of {manifest.get('apiVersion')}; see `kubectl get crd`") from error
    if kind != manifest.get("kind"):
        raise Ig3dError(f"{crd}: defines {kind}, and the manifest is a {manifest.get('kind')}; see `kubectl get crd`")
    return found


def _closed(schema: Any) -> Any:
    """The schema without additional properties, and with fields that the server sets no longer required."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {
        key: part if key in _COMBINATIONS else _closed(part) for key, part in schema.items() if key != "properties"
    }
    if closed.pop("x-kubernetes-int-or-string", False):
        closed["type"] = ["integer", "string"]
    properties = schema.get("properties")
    if isinstance(properties, dict):
        closed["properties"] = {name: _closed(part) for name, part in properties.items()}
        closed.setdefault("additionalProperties", False)
        given = [n for n in schema.get("required", []) if "default" not in (properties.get(n) or {})]
        closed["required"] = given
    return closed
