"""Level sets of fields: hits where the density is the surface's, and derivatives of all that is drawn there."""

import numpy as np
import pytest

from tidr.errors import SceneError
from tidr.fitting.tape import unrecorded
from tidr.renderers.field_density import field_densities
from tidr.renderers.level_set import LevelSetRenderer
from tidr.renderers.rays import Rays
from tidr.renderers.renderer import render
from tidr.runtime import current
from tidr.scene.field import FrequencyField, HashField
from tidr.scene.graph import Film, Node, Scene
from tidr.scene.light import AmbientLight, DirectionalLight, PointLight
from tidr.scene.voxels import VoxelGrid

from .conftest import on_backends
from .gradients import directional_check, tape_gradients, weighted
from .test_level_set import _steep, front

BOX = {"lower": (-1.1, -1, -0.9), "upper": (1, 0.9, 1.2)}


def random_field(kind: str, seed: int) -> HashField | FrequencyField:
    """A field whose number is random enough to have a bumpy surface."""
    if kind == "frequency":
        return FrequencyField(width=12, depth=2, octaves=2, direction_octaves=1, fine_samples=1, seed=seed, **BOX)
    field = HashField(
        levels=2, log2_entries=9, base_resolution=3, finest_resolution=6, width=9, geometry=4, seed=seed, **BOX
    )
    field.table.set(np.random.default_rng(seed).normal(size=field.table.shape) * 0.5)
    return field


def scene_of(field) -> tuple[Scene, float]:
    """The field in a turned and stretched node, under lights; and the density that a fifth of its box exceeds."""
    scene = Scene(Film(12, 12, (0.1, 0.2, 0.3)))
    scene.add_node("shape", Node(field, rotation=(1, 0.2, 0.1, 0.3), translation=(0.1, 0, -0.1), scale=(1.1, 0.9, 1)))
    scene.add_light("sun", DirectionalLight((-0.3, -0.5, -1), (1.5, 1.2, 1)))
    scene.add_light("bulb", PointLight((1.5, 1, 2), 3.0))
    scene.add_light("sky", AmbientLight(0.3))
    points = np.random.default_rng(0).uniform(*field.bounds(), (4000, 3))
    return scene, float(np.quantile(field_densities(field, points), 0.8))


@pytest.mark.row(78)
@pytest.mark.parametrize(
    ("backend", "kind"), on_backends([("hash",), ("frequency",)], [("hash",)]), indirect=["backend"]
)
def test_rays_end_where_the_density_first_is_that_of_the_surface(backend, kind):
    field = random_field(kind, 0)
    scene, level = scene_of(field)
    camera = front(12, fov_y_degrees=30)
    image = render(scene, camera, LevelSetRenderer(level=level, steps=256))
    with unrecorded():
        rays = Rays.of_cameras([camera], 12, 12).to_object(scene, scene["shape"])
    o, d = rays.origins.numpy().astype(float), rays.directions.numpy().astype(float)
    hit, t = image.alpha.numpy().ravel() > 0, image.channel("distance").numpy().reshape(-1, 1)
    assert 20 < hit.sum() < 140
    close = 1e-9 if backend.precision == 64 else 1e-3
    assert np.allclose(field_densities(field, (o + t * d)[hit]), level, rtol=close)
    times = np.linspace(2.0, 6.0, 700)
    seen = field_densities(field, (o[:, None] + times[:, None] * d[:, None]).reshape(-1, 3)).reshape(-1, 700)
    known = (o[:, None] + times[:, None] * d[:, None] > field.lower).all(-1)
    known &= (o[:, None] + times[:, None] * d[:, None] < field.upper).all(-1)
    enters = (seen[:, :-1] < level) & (seen[:, 1:] >= level) & known[:, :-1] & known[:, 1:]
    first = np.where(enters.any(1), times[enters.argmax(1) + 1], np.inf)
    agree = np.where(hit, np.abs(first - t[:, 0]) < 0.02, np.isinf(first))
    assert agree.mean() > 0.97  # both may step over what is thinner than their steps


CHANNELS = ("distance", "depth", "normal", "lit", "rgb", "min_sdf", "probe")


def case(kind: str, channel: str, seed: int):
    """(function, arrays) of a channel, over pixels whose hit does not jump."""
    field = random_field(kind, seed)
    scene, level = scene_of(field)
    steps = 16 if channel == "min_sdf" else 128  # far apart, so that a difference seldom makes another one the least
    camera, renderer = front(12, fov_y_degrees=30), LevelSetRenderer(level=level, steps=steps, lit=channel == "lit")
    scene.add_camera("front", camera)
    name = "rgb" if channel == "lit" else channel
    first = render(scene, camera, renderer)
    chosen = _steep(scene, camera, renderer, first)
    if channel in ("min_sdf", "probe"):
        chosen = (first.alpha.numpy()[..., 0] == 0) & (first.channel(channel).numpy()[..., 0] < 3)
    assert chosen.sum() > 5
    weights = np.random.default_rng(seed).normal(size=first.channel(name).shape) * chosen[..., None]
    arrays = [array for key, array in field.parameters().items() if key != "coarse"]
    if channel != "probe":
        arrays += [camera.position, camera.rotation, *scene["shape"].transform_parameters().values()]
    if channel == "lit":
        arrays += [scene["sun"].direction, scene["bulb"].position]
    return lambda: weighted(render(scene, camera, renderer).channel(name), weights), arrays


@pytest.mark.row(78)
@pytest.mark.parametrize("seed", [1, 2])  # of scenes where no difference straddles the kink of a ReLU
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("kind", ["hash", "frequency"])
def test_gradients(f64, kind, channel, seed):
    """Tables, weights, camera, transform, lights."""
    known[kind, channel, seed] = directional_check(*case(kind, channel, seed), f64, seed)


known: dict[tuple[str, str, int], list[np.ndarray]] = {}


def gradients() -> list[np.ndarray]:
    """Of a colour and of a normal: what lights a surface takes both."""
    cases = [("hash", "lit", 1), ("frequency", "lit", 1), ("frequency", "min_sdf", 1)]
    exact = known if current().precision == 64 else {}
    return [gradient for each in cases for gradient in exact.get(each) or tape_gradients(*case(*each))]


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return gradients()


@pytest.mark.row(78)
def test_gradients_on_vulkan_equal_those_in_64_bits(exact, vulkan):
    for one, other in zip(exact, gradients(), strict=True):
        assert np.linalg.norm(one - other) <= 2e-2 * np.linalg.norm(one)


def test_faults_are_named(f32):
    scene, _ = scene_of(random_field("hash", 0))
    for options, words in (({"level": 0.0}, "level"), ({"search": "sphere"}, "search")):
        with pytest.raises(SceneError, match=words):
            render(scene, front(4), LevelSetRenderer(**options))
    grid = Scene(Film(4, 4))
    grid.add_node("shape", Node(VoxelGrid(sdf=np.ones((2, 2, 2)))))
    with pytest.raises(SceneError, match="level"):
        render(grid, front(4), LevelSetRenderer(level=1.0))
