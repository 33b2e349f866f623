"""The JSON schema of search spaces: current, named in each shipped file, and as strict as the reader."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from ig3d_ray.config.schema import schema_text, search_space_schema
from ig3d_ray.ensembles.spec import EnsembleSpec

SPACES = Path(__file__).parents[2] / "search_spaces"
SHIPPED = sorted(SPACES.glob("*.yaml"))
MEMBER = {"kind": "mlp3d", "representation": ["emoca", "smirk"], "subset": "full", "recipe": "quick"}
SPACE = {"dataset": "faces", "objective": "accuracy", "pool": [MEMBER]}


def test_the_kept_schema_is_the_models() -> None:
    kept = (SPACES / "schema.json").read_text()
    assert kept == schema_text(), "python -m ig3d_ray.config.schema > search_spaces/schema.json"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_file_names_the_schema_and_is_valid(file: Path) -> None:
    assert file.read_text().startswith("# yaml-language-server: $schema=schema.json\n")
    jsonschema.validate(yaml.safe_load(file.read_text()), search_space_schema())


@pytest.mark.parametrize(
    "change",
    [
        {"pool": [MEMBER | {"subset": "the half"}]},
        {"pool": [MEMBER | {"monitor": "accuracy"}]},
        {"pool": [{"kind": "vgg"}]},
        {"pool": []},
        {"color": "red"},
        {"search": {"budget": -1}},
    ],
)
def test_what_the_reader_rejects_the_schema_rejects(change: dict[str, object]) -> None:
    jsonschema.validate(SPACE, search_space_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(SPACE | change, search_space_schema())


def _undescribed(part: object, name: str = "") -> list[str]:
    """Properties of a schema without a description, in whatever form they may be written."""
    if not isinstance(part, dict):
        return []
    fields = part.get("properties", {})
    found = [f"{name}.{key}" for key, field in fields.items() if "description" not in str(field)]
    return found + [one for key, inner in part.get("$defs", {}).items() for one in _undescribed(inner, key)]


@pytest.mark.parametrize("schema", [search_space_schema(), EnsembleSpec.model_json_schema()], ids=["space", "spec"])
def test_every_field_is_described(schema: dict[str, object]) -> None:
    assert _undescribed(schema) == []
