"""A page that describes the HTTP service from its OpenAPI schema: no scripts, nothing from elsewhere."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def describing_page(schema: dict[str, Any]) -> str:
    """The page as HTML.

    Args:
        schema: OpenAPI's, of the service.
    """
    loader = PackageLoader("ig3d_ray.ensembles", "templates")
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    return environment.get_template("service.html.j2").render(
        info=schema["info"], operations=list(_operations(schema)), missing=_missing(schema)
    )


def _operations(schema: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            body = about.get("requestBody", {}).get("content", {})
            fields = body.get("application/json", {}).get("schema", {}).get("properties", {})
            answer = about["responses"].get("200", {}).get("content", {}).get("application/json", {}).get("schema", {})
            reference = answer.get("$ref", "").rsplit("/", 1)[-1]
            known = schema.get("components", {}).get("schemas", {})
            found.append(
                {
                    "method": method.upper(),
                    "path": path,
                    "description": about.get("description", ""),
                    "parameters": about.get("parameters", []),
                    "types": list(body),
                    "fields": _described(fields),
                    "answer": _described(known.get(reference, {}).get("properties", {})),
                    "responses": {status: one["description"] for status, one in about["responses"].items()},
                }
            )
    return found


def _described(fields: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, field.get("description", "")) for name, field in fields.items()]


def _missing(schema: dict[str, Any]) -> str:
    (one,) = [p for p in schema["paths"]["/predict"]["post"]["parameters"] if p["name"] == "missing"]
    return " | ".join(one["schema"]["enum"])
