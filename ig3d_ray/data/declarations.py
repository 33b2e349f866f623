"""Reading declarations: YAML files of a package, of a user, or stored ones, each one model."""

from importlib import resources
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.explain import first_error
from ig3d_ray.storage.json_files import unsealed
from ig3d_ray.storage.store import Store
from ig3d_ray.storage.yaml_files import yaml_mapping

Model = TypeVar("Model", bound=BaseModel)
ENDING = ".yaml"


def shipped_names(package: str) -> tuple[str, ...]:
    """The names of the declarations in a package, sorted.

    Args:
        package: that has the YAML files.
    """
    files = (file.name for file in resources.files(package).iterdir())
    return tuple(sorted(name.removesuffix(ENDING) for name in files if name.endswith(ENDING)))


def shipped_text(package: str, name: str) -> str:
    """The YAML of a declaration in a package.

    Args:
        package: that has the YAML files.
        name: of the declaration.
    """
    return (resources.files(package) / f"{name}{ENDING}").read_text(encoding="utf-8")


def parsed(model: type[Model], text: str, what: str, wanted: str) -> Model:
    """A declaration in YAML or JSON as its model.

    Args:
        model: of the declaration.
        text: of the file.
        what: names the file.
        wanted: what the file must be, for the message.

    Raises:
        Ig3dError: the text is no mapping, or a field is wrong; the message names the file and the field.
    """
    try:
        return model.model_validate(yaml_mapping(text, what, wanted))
    except ValidationError as error:
        raise Ig3dError(f"{what}: {first_error(error)}") from error


def published(model: type[Model], store: Store, place: str) -> Model:
    """A declaration that was created in a storage, as its model.

    Args:
        model: of the declaration.
        store: that has it.
        place: its name there.

    Raises:
        Ig3dError: it is damaged, or of another version; the message names the file.
    """
    what = store.locate(place)
    try:
        return model.model_validate(unsealed(store.read(place)))
    except ValidationError as error:
        why = first_error(error)
    except ValueError as error:
        why = f"damaged, {error}"
    raise Ig3dError(f"{what}: {why[:150]}; delete this file and create the declaration again")
