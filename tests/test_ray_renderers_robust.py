"""Every renderer that follows rays, on what nobody would draw: R17 (NaN) and R22 (degenerate scenes)."""

from collections.abc import Callable

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.errors import GradientError, SceneError, TidrError
from tidr.fitting import checkpoint
from tidr.fitting.loop import FitError, Watcher
from tidr.fitting.views import Views
from tidr.renderers.implicit_anchors import AnchorRenderer, Anchors
from tidr.renderers.level_set import LevelSetRenderer
from tidr.renderers.neus import NeusRenderer
from tidr.renderers.volume import VolumeRenderer
from tidr.renderers.voxels import VoxelRenderer
from tidr.renderers.voxels_march import METHODS
from tidr.scene.field import FrequencyField, HashField
from tidr.scene.neus import NeusGrid
from tidr.scene.volume import Volume
from tidr.scene.voxels import VoxelGrid, cell_centers

from .gradients import tape_gradients, weighted

BACKGROUND = (0.1, 0.2, 0.3)
VOLUME = VolumeRenderer(steps=12, light_steps=4, light_nodes=4)
Box = dict[str, tuple[float, float, float]]


def placed(*geometries, **node) -> tidr.Scene:
    scene = tidr.Scene(tidr.Film(5, 5, background=BACKGROUND))
    for number, geometry in enumerate(geometries):
        scene.add_node("thing" if number == 0 else f"other{number}", tidr.Node(geometry, **node))
    scene.add_light("sun", tidr.DirectionalLight((0.2, -1, -0.4), 2.0))
    scene.add_light("lamp", tidr.PointLight((0.5, 0.5, 0.5), 0.5))
    return scene


def occupancies(shape, fill: float, box: Box) -> VoxelGrid:
    return VoxelGrid(occupancy=np.full(shape, fill), color=np.full((*shape, 3), 0.5), **box)


def distances(shape, fill: float, box: Box) -> VoxelGrid:
    """Of a ball where `fill` is between 0 and 1; else nothing or everything is inside."""
    values = np.linalg.norm(cell_centers(shape), axis=-1) - 0.6 if 0 < fill < 1 else np.full(shape, 0.5 - fill)
    return VoxelGrid(sdf=values, color=np.full((*shape, 3), 0.5), **box)


def neus(shape, fill: float, box: Box) -> NeusGrid:
    return NeusGrid(distances(shape, fill, box).sdf.numpy(), np.full((*shape, 3), 0.5), 12.0, **box)


def anchored(scene: tidr.Scene) -> AnchorRenderer:
    return AnchorRenderer(anchors=Anchors.of(scene["thing"], 60, 0.2, seed=1))


def hash_field(shape, fill: float, box: Box) -> HashField:
    field = HashField(levels=2, log2_entries=6, base_resolution=2, finest_resolution=4, width=4, geometry=2, **box)
    field.table.set(np.random.default_rng(0).normal(size=field.table.shape) * fill)
    return field


def frequency_field(shape, fill: float, box: Box) -> FrequencyField:
    return FrequencyField(width=4, depth=1, octaves=1, direction_octaves=1, fine_samples=4, **box)


def several(shape, fill: float, box: Box) -> tuple:
    """A glowing volume, a field and a medium, side by side along x, their faces touching."""
    lower, upper = np.array(box["lower"]), np.array(box["upper"])
    wide = (upper - lower) * (1, 0, 0)
    boxes = [{"lower": tuple(lower + k * wide), "upper": tuple(upper + k * wide)} for k in (0, 1, -1)]
    medium = Volume(np.full(shape, fill), albedo=(0.9, 0.5, 0.1), **boxes[2])
    return Volume(np.full(shape, fill), (0.9, 0.5, 0.1), **boxes[0]), hash_field(shape, fill, boxes[1]), medium


Renderer = Callable[[tidr.Scene], object]
# What makes the geometry of (shape, fill, box), and the renderer.
KINDS: dict[str, tuple[Callable, Renderer]] = {
    **{f"voxels {m}": (occupancies, lambda scene, m=m: VoxelRenderer(method=m)) for m in (*METHODS, "splat", "sdf")},
    "voxels sdf of distances": (distances, lambda scene: VoxelRenderer(method="sdf")),
    "level set": (distances, lambda scene: LevelSetRenderer()),
    "level set, sdfdiff": (distances, lambda scene: LevelSetRenderer(differentiation="sdfdiff")),
    "neus": (neus, lambda scene: NeusRenderer(steps=12)),
    "anchors": (occupancies, anchored),
    "hash": (hash_field, lambda scene: VOLUME),
    "frequency": (frequency_field, lambda scene: VOLUME),
    "several volumes": (several, lambda scene: VOLUME),
}


def scene_of(kind: str, shape=(3, 3, 3), fill: float = 0.7, box: Box | None = None, **node) -> tidr.Scene:
    made = KINDS[kind][0](shape, fill, box or {"lower": (-1, -1, -1), "upper": (1, 1, 1)})
    return placed(*(made if isinstance(made, tuple) else (made,)), **node)


def eye(position, target=(0, 0, 0), size: int = 5, **lens) -> tidr.Camera:
    """An odd image has a column of rays in the plane x = the eye's x, parallel to faces of the box."""
    return tidr.Camera.look_at(position, target, width=size, height=size, **(lens or {"fov_y_degrees": 50}))


def front() -> tidr.Camera:
    return eye((0.3, 0.2, 3.0))


def defined(scene: tidr.Scene, kind: str, camera: tidr.Camera | None = None) -> np.ndarray:
    """Every channel and every gradient is finite and alpha is in [0, 1]. Returns rgb, or alpha where there is none."""
    renderer, camera = KINDS[kind][1](scene), camera or front()
    with tidr.Tape() as tape:
        image = tidr.render(scene, camera, renderer)
        shown = "rgb" if "rgb" in image.channels else "alpha"
        for channel in [name for name in (shown, "depth") if name in image.channels]:
            tape.add(weighted(image.channel(channel), 1.0))
    for channel in image.channels:
        assert np.isfinite(image.channel(channel).numpy()).all(), channel
    alpha = image.alpha.numpy()
    assert alpha.min() >= -1e-6
    assert alpha.max() <= 1 + 1e-6
    for parameter in (*scene.parameters().values(), *camera.parameters().values()):
        assert np.isfinite(parameter.grad_numpy()).all(), parameter.label
    return image.channel(shown).numpy()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "field" not in KINDS[kind][0].__name__])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 1), (2, 1, 3)], ids=str)
def test_grids_of_one_cell(f64, kind, shape):
    defined(scene_of(kind, shape), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_and_solid(f64, kind):
    for fill in (0.0, 1e-30, 1.0):
        shown = defined(scene_of(kind, fill=fill), kind)
        if fill == 0 and KINDS[kind][0] in (occupancies, distances, neus):
            empty = np.broadcast_to(BACKGROUND if shown.shape[-1] == 3 else 0.0, shown.shape)
            np.testing.assert_allclose(shown, empty, atol=1e-2 if kind == "neus" else 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_eye_inside_on_faces_and_along_them(f64, kind):
    cameras = {
        "in the middle": eye((0, 0, 0), (0, 0, -1)),
        "on a face": eye((0, 0, 1)),
        "just inside": eye((0, 0, 0.999999)),
        "along a face": eye((1, 0, 3), (1, 0, 0)),
        "on a corner": eye((1, 1, 1)),
        "parallel rays along faces": eye((0, 0, 3), height_world=2.0, size=4),
        "away": eye((0, 0, 3), (0, 0, 9)),
    }
    for fill in (0.7, 1.0):
        scene = scene_of(kind, (3, 4, 2), fill)
        for camera in cameras.values():
            shown = defined(scene, kind, camera)
            if camera is cameras["away"] and shown.shape[-1] == 3:
                np.testing.assert_allclose(shown, np.broadcast_to(BACKGROUND, shown.shape), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_one_pixel_and_thin_images(f64, kind):
    scene = scene_of(kind)
    for width, height in ((1, 1), (1, 4), (4, 1)):
        image = tidr.render(scene, front(), KINDS[kind][1](scene), width=width, height=height)
        assert image.alpha.shape == (height, width, 1)
        assert np.isfinite(image.alpha.numpy()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_and_nodes_that_are_thin_or_far(f64, kind):
    unit = {"lower": (-1.0, -1.0, -1.0), "upper": (1.0, 1.0, 1.0)}
    for box, node in (
        ({"lower": (-1.0, -1.0, -1e-9), "upper": (1.0, 1.0, 1e-9)}, {}),
        ({"lower": (-1e4, -1e4, -1e4), "upper": (1e4, 1e4, 1e4)}, {}),
        (unit, {"scale": 1e-6}),
        (unit, {"translation": (1e6, 0, 0)}),
    ):
        defined(scene_of(kind, (2, 3, 2), box=box, **node), kind)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "several volumes"])
@pytest.mark.parametrize(
    ("lower", "upper"), [((0, 0, 0), (0, 1, 1)), ((1, 1, 1), (-1, -1, -1)), ((0, 0, np.nan), (1, 1, 1))]
)
def test_boxes_without_extent_are_refused(f64, kind, lower, upper):
    with pytest.raises(SceneError, match="lower"):
        scene_of(kind, box={"lower": lower, "upper": upper})


def differentiable(scene: tidr.Scene) -> dict[str, tidr.Parameter]:
    """Parameters of the first thing's content."""
    content = scene["thing"].geometry.parameters()
    return {path: parameter for path, parameter in scene.parameters("thing.*").items() if path.split(".")[1] in content}


@pytest.mark.parametrize("kind", KINDS)
def test_a_parameter_never_takes_a_nan(f64, kind):
    parameters = differentiable(scene_of(kind))
    assert parameters
    for path, parameter in parameters.items():
        before = parameter.numpy()
        broken = before.copy()
        broken.reshape(-1)[-1] = np.nan
        with pytest.raises(TidrError, match=path):
            parameter.set(broken)
        np.testing.assert_array_equal(parameter.numpy(), before)


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_on_the_device_makes_no_picture_with_a_loss(f64, kind):
    """A NaN that a kernel wrote: the loss is refused by name, unless nothing of it is seen.

    Where a sign, a size or a rectifier decides what is there, a NaN is nothing: see the next test.
    """
    channel, refused = "alpha" if kind == "anchors" else "rgb", 0

    def loss(scene):
        shown = tidr.render(scene, front(), KINDS[kind][1](scene)).channel(channel)
        return tidr.losses.mse(shown, Array.of(np.zeros(shown.shape), needs_grad=False)), shown

    for path in differentiable(scene_of(kind)):
        scene = scene_of(kind)
        parameter = scene.parameters()[path]
        parameter.value.from_numpy(np.full_like(parameter.value.to_numpy(), np.nan))
        parameter.touch()
        if np.isfinite(loss(scene)[1].numpy()).all():
            continue
        refused += 1
        with pytest.raises(GradientError, match="mse"):
            tape_gradients(lambda scene=scene: loss(scene)[0], [parameter])
    assert refused or kind in ("anchors", "voxels sdf", "hash", "frequency")


class Breaker(Watcher):
    """Writes a NaN into a parameter on the device after a step."""

    def __init__(self, parameter: tidr.Parameter, at: int) -> None:
        self.parameter, self.at = parameter, at

    def step(self, step, loss, psnr) -> None:
        if step == self.at:
            broken = self.parameter.value.to_numpy()
            broken.reshape(-1)[0] = np.nan
            self.parameter.value.from_numpy(broken)


@pytest.mark.parametrize("kind", ["voxels ptn", "voxels splat", "voxels sdf of distances", "neus", "hash"])
def test_a_nan_in_a_fit_stops_it_with_the_path(f32, kind, tmp_path):
    """Whether or not a picture shows it, no file gets it."""
    scene = scene_of(kind, (6, 6, 6))
    cameras = tidr.sphere_views(3, 4.0, fov_y_degrees=45, width=8, height=8)
    views = Views(cameras, [np.full((8, 8, 4), 0.6, np.float32) for _ in cameras])
    path, parameter = next(iter(differentiable(scene).items()))
    options = {"renderer": KINDS[kind][1](scene), "steps": 20, "output": tmp_path / "run", "save_every": 5}
    with pytest.raises(FitError, match=path):
        tidr.fit(scene, views, path, watcher=Breaker(parameter, 7), **options)
    saved = checkpoint.load(tmp_path / "run")
    assert saved is not None
    assert saved.step == 5
    kept = [array for name, array in saved.arrays.items() if name.startswith(("parameter/", "optimizer/"))]
    assert kept
    assert all(np.isfinite(array).all() for array in kept)


@pytest.mark.parametrize("kind", KINDS)
def test_a_nan_in_a_gradient_names_the_parameter(f64, kind):
    scene = scene_of(kind)
    parameters = scene.parameters("thing.*")
    for path in differentiable(scene):
        optimizer = tidr.Adam(parameters, 0.1)
        before = {name: parameter.numpy() for name, parameter in parameters.items()}
        for parameter in parameters.values():
            parameter.zero_grad()
        parameters[path].set_grad(np.full(parameters[path].shape, np.nan))
        with pytest.raises(GradientError, match=path):
            optimizer.step()
        for name, parameter in parameters.items():
            np.testing.assert_array_equal(parameter.numpy(), before[name])
