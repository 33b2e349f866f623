"""A KubeRay manifest against the schema of its kind, as the cluster's operator defines it; unknown fields are rejected.

Kubernetes silently drops unknown fields: `maxReplica: 8` is a group without a limit.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ig3d_ray.errors import Ig3dError
from ig3d_ray.launch.faults import Fault
from ig3d_ray.storage.yaml_files import read_yaml, yaml_mapping

_COMBINATIONS = ("allOf", "anyOf", "oneOf", "not")


def check_schema(manifest: dict[str, Any], crd: Path) -> Iterator[Fault]:
    """What the schema rejects in a manifest.

    Args:
        crd: a CustomResourceDefinition, such as `kubectl get crd rayjobs.ray.io -o yaml` prints.

    Raises:
        Ig3dError: the file holds no definition of this manifest's kind, or one whose schema is none.
    """
    import jsonschema

    try:
        schema = _closed(_schema(manifest, crd))
        schema["properties"]["metadata"] = {"type": "object"}
        jsonschema.Draft7Validator.check_schema(schema)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, jsonschema.SchemaError) as error:
        raise Ig3dError(
            f"{crd}: its openAPIV3Schema is no schema of a {manifest.get('kind')}; "
            "give what `kubectl get crd rayjobs.ray.io -o yaml` prints"
        ) from error
    for found in jsonschema.Draft7Validator(schema).iter_errors(manifest):
        where = ".".join(str(step) for step in found.absolute_path) or "(top)"
        yield Fault("schema", where, found.message if len(found.message) < 300 else found.message[:300] + " ...")


def _schema(manifest: dict[str, Any], crd: Path) -> dict[str, Any]:
    content = _parsed(read_yaml(crd), str(crd))
    try:
        kind, versions = content["spec"]["names"]["kind"], content["spec"]["versions"]
        version = str(manifest.get("apiVersion")).rpartition("/")[2]
        found: dict[str, Any] = next(v["schema"]["openAPIV3Schema"] for v in versions if v["name"] == version)
    except (KeyError, TypeError, StopIteration) as error:
        raise Ig3dError(f"{crd}: no definition of {manifest.get('apiVersion')}; see `kubectl get crd`") from error
    if kind != manifest.get("kind"):
        raise Ig3dError(f"{crd}: defines {kind}, and the manifest is a {manifest.get('kind')}; see `kubectl get crd`")
    return found


@lru_cache(maxsize=2)
def _parsed(text: str, what: str) -> dict[str, Any]:
    """A definition is of a megabyte or more, and parsed once for many manifests."""
    return yaml_mapping(text, what, "should be what `kubectl get crd` prints")


def _closed(schema: Any) -> Any:
    """The schema without additional properties, and with fields that the server sets no longer required."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        raise ValueError("a definition has no references, and one to an address would be fetched")
    closed = {
        key: part if key in _COMBINATIONS else _closed(part) for key, part in schema.items() if key != "properties"
    }
    if closed.pop("x-kubernetes-int-or-string", False):
        closed["type"] = ["integer", "string"]
    properties = schema.get("properties")
    if properties is not None:
        closed["properties"] = {name: _closed(part) for name, part in properties.items()}
        closed.setdefault("additionalProperties", False)
        given = [n for n in schema.get("required", []) if "default" not in (properties.get(n) or {})]
        closed["required"] = given
    return closed
