"""A JSON schema of search spaces, for editors: lists are allowed where the pool expands them.

`python -m ig3d_ray.config.schema` prints it; `search_spaces/schema.json` holds it.
"""

import json
from typing import Any

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.models.registry import KINDS, spec_class
from ig3d_ray.models.spec import ImportedSpec, TrainedSpec


def search_space_schema() -> dict[str, Any]:
    """The schema of a search space file (JSON Schema, draft 2020-12)."""
    schema = SearchSpace.model_json_schema()
    definitions: dict[str, Any] = schema.setdefault("$defs", {})
    items = [_item(spec_class(kind).model_json_schema(), definitions, lists=True) for kind in KINDS]
    items.append(_item(ImportedSpec.model_json_schema(), definitions, lists=False))
    _allow_name(definitions["Stage"]["properties"])
    fusion = definitions["FusionSpace"]["properties"]
    fusion |= {
        name: {"anyOf": [field, field["items"]]} for name, field in fusion.items() if field.get("type") == "array"
    }
    for unused in ("TrainedSpec", "ImportedSpec", "Origin"):
        definitions.pop(unused, None)
    pool = {name: schema["properties"]["pool"][name] for name in ("description", "title")}
    schema["properties"]["pool"] = pool | {"type": "array", "minItems": 1, "items": {"anyOf": items}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema


def _item(schema: dict[str, Any], definitions: dict[str, Any], lists: bool) -> dict[str, Any]:
    """The schema of one kind of pool item; what it refers to goes into the definitions."""
    definitions.update(schema.pop("$defs", {}))
    kind = schema["properties"]["kind"]
    fields = {name: field for name, field in schema["properties"].items() if name not in TrainedSpec.DERIVED}
    if lists:
        _allow_name(fields)
        several = {name: field for name, field in fields.items() if name != "kind"}
        fields |= {name: {"anyOf": [field, {"type": "array", "items": field}]} for name, field in several.items()}
    required = ["kind", *(name for name in schema.get("required", []) if name != "kind")]
    return schema | {"properties": fields | {"kind": {"const": kind["const"]}}, "required": required}


def _allow_name(fields: dict[str, Any]) -> None:
    """A recipe may be the name of one."""
    fields["recipe"] = {"anyOf": [fields["recipe"], {"type": "string"}]}


def schema_text() -> str:
    """The schema as it is kept in `search_spaces/schema.json`."""
    return json.dumps(search_space_schema(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
