"""The data sets: what is predicted on them, and their classes in order."""

from dataclasses import dataclass

from ig3d_ray.errors import Ig3dError
from ig3d_ray.types import Task


@dataclass(frozen=True)
class Dataset:
    """A dataset by name.

    Attributes:
        name: the word used in configuration and paths.
        tasks: what can be searched on it; the first is the default.
        class_names: expressions, in the order of the logits' columns.
        has_va: whether samples carry valence and arousal (both nominally in [-1, 1]).
    """

    name: str
    tasks: tuple[Task, ...]
    class_names: tuple[str, ...]
    has_va: bool


_AFFECTNET = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
_RAFDB = ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Anger", "Neutral")

DATASETS: dict[str, Dataset] = {
    "affectnet8": Dataset("affectnet8", (Task.EXPRESSION,), _AFFECTNET, has_va=True),
    "affectnet7": Dataset("affectnet7", (Task.EXPRESSION,), _AFFECTNET[:7], has_va=True),
    "affectnet_va": Dataset("affectnet_va", (Task.VA,), _AFFECTNET, has_va=True),
    "rafdb": Dataset("rafdb", (Task.EXPRESSION,), _RAFDB, has_va=False),
    "faces": Dataset("faces", (Task.EXPRESSION, Task.VA), _RAFDB, has_va=True),
}


def dataset(name: str) -> Dataset:
    """The dataset of this name.

    Raises:
        Ig3dError: there is no such dataset; the message lists the known ones.
    """
    if name not in DATASETS:
        raise Ig3dError(f"unknown dataset {name!r}; known: {', '.join(sorted(DATASETS))}")
    return DATASETS[name]
