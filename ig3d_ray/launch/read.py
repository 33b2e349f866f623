"""Reading a cluster file, and determining its kind."""

from pathlib import Path
from typing import Any, Literal

import yaml

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.local_files import read_regular

Kind = Literal["launcher", "kuberay", "skypilot"]


def read_cluster(path: Path) -> tuple[Kind, dict[str, Any], str]:
    """A cluster file: its kind, its content, its text.

    Raises:
        Ig3dError: it is not YAML, or not a file for `ray up`, KubeRay or SkyPilot.
    """
    try:
        text = read_regular(path).decode()
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (OSError, UnicodeDecodeError) as error:
        raise Ig3dError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise Ig3dError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise Ig3dError(f"{path}: holds {len(documents)} documents; give one cluster per file")
    content = documents[0]
    if content.get("kind") in ("RayJob", "RayCluster", "RayService"):
        return "kuberay", content, text
    if "provider" in content or "available_node_types" in content:
        return "launcher", content, text
    if "run" in content or "resources" in content:
        return "skypilot", content, text
    raise Ig3dError(
        f"{path}: neither a file for `ray up` (provider, available_node_types), nor a RayJob, RayCluster or RayService,"
        " nor a task of SkyPilot (resources, run)"
    )
