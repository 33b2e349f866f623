"""Options of commands that read tables of predictions."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ig3d_ray.errors import Ig3dError

if TYPE_CHECKING:
    from ig3d_ray.data.datasets import Dataset
    from ig3d_ray.importing.reading import Reading
    from ig3d_ray.storage.store import Store

ViewWord = Annotated[
    str,
    typer.Option("--view", metavar="WORD", help="What the model takes as input: 2d, 3d, landmarks, audio, ..."),
]
Classes = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Declare a data set of your own by its classes in order; see `data create`."),
]
ToolName = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="NAME", help="deepface, pyfeat, libreface, openface3, hsemotion, cage, ig3d or table."
    ),
]
ScoreColumns = Annotated[
    str | None, typer.Option("--columns", metavar="CLASS=COLUMN,...", help="Which column has which class's score.")
]
IdColumn = Annotated[str | None, typer.Option(metavar="NAME", help="Column of the sample ids.")]
LabelColumn = Annotated[str | None, typer.Option(metavar="NAME", help="Column of the true classes.")]
ScoresAre = Annotated[
    Literal["logits", "probabilities", "percent"] | None, typer.Option(help="What the scores are, where it is unclear.")
]
Faces = Annotated[Literal["first", "largest", "error"], typer.Option(help="Which of several faces of an image counts.")]


def known_dataset(store: "Store", name: str, classes: str | None = None) -> "Dataset":
    """The data set that a command names; declared by its classes if these are given, and published with its data.

    Args:
        store: the storage.
        name: of the data set.
        classes: comma-separated, in order.

    Raises:
        Ig3dError: it is unknown, or has other classes.
    """
    from ig3d_ray.data import datasets
    from ig3d_ray.data.datasets.declaration import parse_classes

    if classes is not None:
        datasets.declare(parse_classes(name, classes))
    return datasets.use(store, name)


def reading(
    tool: str | None,
    columns: str | None,
    id_column: str | None,
    label_column: str | None,
    scores: Literal["logits", "probabilities", "percent"] | None,
    faces: Literal["first", "largest", "error"],
    row_order_is_id: bool = False,
) -> "Reading":
    """How to read a file, from the options.

    Raises:
        Ig3dError: `--columns` does not have the form CLASS=COLUMN,...
    """
    from ig3d_ray.importing.reading import Reading

    given = {}
    for item in columns.split(",") if columns else ():
        word, equals, column = item.partition("=")
        if not equals or not word.strip() or not column.strip():
            raise Ig3dError(f"--columns {item}: write it as CLASS=COLUMN, such as happy=p_3,sad=p_4")
        given[word.strip()] = column.strip()
    return Reading(tool, given, id_column, label_column, scores, faces, row_order_is_id)
