"""Late fusion of 2D and 3D facial-expression networks: train on Ray, cache logits, search, export.

The public names are loaded when they are asked for, so that importing the package loads nothing heavy.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("ig3d-ray")

_PUBLIC = {
    "EnsembleSpec": "ensemble",
    "Ig3dError": "errors",
    "LateFusion": "late_fusion",
    "LogitStore": "logits",
    "LogitTable": "logits",
    "Pool": "pool",
    "Samples": "data.samples",
    "SearchSpace": "space",
    "Store": "storage",
    "fuse": "fusion.strategies",
    "load_ensemble": "running",
    "load_pool": "late_fusion",
    "load_space": "space_file",
    "predict": "predict",
    "run_local": "search",
    "score": "metrics",
}
__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ig3d_ray' has no attribute {name!r}; it offers {', '.join(sorted(_PUBLIC))}")
    return getattr(import_module(f"ig3d_ray.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
