"""An ensemble whose gate takes 3D parameters as input, on images."""

import numpy as np
import pytest
from ensembles_of import pool_of
from trained import World

from ig3d_ray.ensembles.predictor import Ensemble
from ig3d_ray.ensembles.spec import Fallback
from ig3d_ray.errors import Ig3dError
from ig3d_ray.evaluation.pool import Pool
from ig3d_ray.fusion.combine import Fusion
from ig3d_ray.fusion.gating import Gate
from ig3d_ray.types import Task

FACES = 4
GATE = Gate(
    members=(0, 1),
    center=(0.0, 0.0, 0.0),
    scale=(1.0, 1.0, 0.1),
    knots=((0.0,), (0.0,), (0.0,)),
    slopes=((0.0, 0.0, 0.0, 0.0, 0.9, 0.5), (0.0, 0.0, 0.0, 0.0, -0.8, 0.3)),
    representation="emoca",
    parameters=(51,),
)
GATED = Fusion(strategy="weighted", space="logits", weights=(0.6, 0.4), gate=GATE)
STATIC = GATED.model_copy(update={"gate": None})


@pytest.fixture
def ensemble(world: World) -> Ensemble:
    """Two networks that take images only."""
    few = tuple(member for member in world.spec.members if member.features == ("image",))
    names = tuple(member.name for member in few)
    fallback = Fallback(missing=("emoca",), members=names, fusion=STATIC, selection=0.5)
    made = {"members": few, "fusion": GATED, "fallbacks": (fallback,), "encoders": {}}
    return Ensemble(world.spec.model_copy(update=made), world.store, "cpu")


def first_faces(world: World, ensemble: Ensemble) -> tuple[list[bytes], Pool, np.ndarray]:
    """Images, their cached outputs in the same order, and their EMOCA parameters."""
    part = world.samples.in_split("test").with_feature("emoca")
    place = dict(zip(*world.images(), strict=True))
    ids = [one for one in part.ids if one in place][:FACES]
    pool = pool_of(world, world.spec).only([member.name for member in ensemble.spec.members])
    pool = pool.take(np.array([int(np.flatnonzero(pool.ids == one)[0]) for one in ids]))
    rows = [list(part.ids).index(one) for one in ids]
    return [place[one] for one in ids], pool, part.params("emoca")[rows].copy()


def test_images_are_predicted_as_the_cached_outputs_are(world: World, ensemble: Ensemble) -> None:
    assert ensemble.features == ("emoca", "image")
    images, pool, vectors = first_faces(world, ensemble)
    found = ensemble.predict(images, parameters={"emoca": vectors}).filter(like="probability").to_numpy()
    fused = GATED.apply(pool.outputs_MNC, Task.EXPRESSION, {"emoca": vectors})
    assert found == pytest.approx(GATED.probabilities(fused), abs=1e-5)
    assert found != pytest.approx(GATED.probabilities(STATIC.apply(pool.outputs_MNC, Task.EXPRESSION)), abs=1e-3)


def test_a_face_without_the_parameters_is_refused_or_has_the_fallback(world: World, ensemble: Ensemble) -> None:
    images, pool, vectors = first_faces(world, ensemble)
    whole = ensemble.predict(images, parameters={"emoca": vectors}).filter(like="probability").to_numpy()
    vectors[2] = np.nan
    with pytest.raises(Ig3dError, match=r"2: .* needs emoca, which is missing"):
        ensemble.predict(images, parameters={"emoca": vectors})
    less = ensemble.predict(images, "fallback", parameters={"emoca": vectors})
    assert less["missing"].tolist() == ["", "", "emoca", ""]
    expected = whole.copy()
    expected[2] = STATIC.probabilities(STATIC.apply(pool.outputs_MNC, Task.EXPRESSION))[2]
    assert less.filter(like="probability").to_numpy() == pytest.approx(expected, abs=1e-5)
    assert expected[2] != pytest.approx(whole[2], abs=1e-4)
