"""Late fusion of 2D and 3D facial-expression networks: train on Ray, cache logits, search, export.

The public names are loaded when they are asked for, so that importing the package loads nothing heavy.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "EnsembleSpec": "ensembles.spec",
    "Ig3dError": "errors",
    "LateFusion": "search.estimator",
    "LogitStore": "evaluation.logits",
    "LogitTable": "evaluation.logits",
    "Pool": "evaluation.pool",
    "Samples": "data.samples",
    "SearchSpace": "config.search_space",
    "Store": "storage.store",
    "fuse": "fusion.combine",
    "load_ensemble": "ensembles.predictor",
    "load_pool": "search.estimator",
    "load_space": "config.load",
    "predict": "ensembles.reproduce",
    "run_local": "search.explorer",
    "score": "evaluation.metrics",
    "screen": "search.screening",
}
__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ig3d-ray")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'ig3d_ray' has no attribute {name!r}; it offers {', '.join(sorted(_PUBLIC))}")
    return getattr(import_module(f"ig3d_ray.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return __all__
