"""Reading the layers of published checkpoints by their names and shapes."""

from ig3d_ray.data.representations import Representation, Subset, subset_columns
from ig3d_ray.errors import Ig3dError
from ig3d_ray.models.spec import Shapes


def layer_shape(shapes: Shapes, name: str, kind: str) -> tuple[int, ...]:
    """The shape of one layer.

    Args:
        shapes: of all layers.
        name: which one.
        kind: of the network, for the message.

    Raises:
        Ig3dError: there is no such layer.
    """
    if name not in shapes:
        first = ", ".join(list(shapes)[:3])
        raise Ig3dError(f"not a published {kind}: there is no layer {name}; the first are {first}")
    return shapes[name]


def subset_of_width(width: int, kind: str) -> tuple[Representation, Subset]:
    """The representation and subset with so many parameters.

    Raises:
        Ig3dError: none has as many; the message lists the known numbers.
    """
    representations: tuple[Representation, ...] = ("emoca", "smirk")
    subsets: tuple[Subset, ...] = ("short", "full")
    sizes = {len(subset_columns(r, s)): (r, s) for r in representations for s in subsets}
    if width not in sizes:
        raise Ig3dError(f"this {kind} takes {width} parameters; known: {', '.join(map(str, sorted(sizes)))}")
    return sizes[width]


def head_count(shapes: Shapes, kind: str) -> int:
    """The number of DDAMFN's attention heads.

    Raises:
        Ig3dError: there are none.
    """
    layer_shape(shapes, "cat_head0.CoordAtt.conv1.weight", kind)
    return len({name.split(".", 1)[0] for name in shapes if name.startswith("cat_head")})
