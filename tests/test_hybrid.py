"""Pictures of meshes, Gaussians and volumes together."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import tidr
from tidr.array import Array
from tidr.cli import app
from tidr.errors import GradientError, SceneError, TidrError
from tidr.renderers.hybrid import HybridRenderer
from tidr.renderers.points import PointRenderer
from tidr.renderers.raster import Rasterizer
from tidr.renderers.renderer import suited
from tidr.renderers.volume import VolumeRenderer
from tidr.scene.gaussians import Gaussians
from tidr.scene.mesh import Mesh
from tidr.scene.points import PointCloud
from tidr.scene.volume import Volume

from .gradients import tape_gradients, weighted
from .hybrid_scenes import BACKGROUND, MEMBERS, medium, mixed, only
from .reference import hybrid as reference

PLAIN = HybridRenderer(steps=9, light_nodes=6, light_steps=5)
CHANNELS = ("rgb", "alpha", "depth", "distance", "normal")


def psnr(picture, expected) -> float:
    return -10 * np.log10(np.mean((picture - expected) ** 2))


@pytest.mark.row(1)
@pytest.mark.row(27)
def test_the_bundled_scene_is_what_rays_meet(f64):
    scene, renderer, size = tidr.load("mixed"), HybridRenderer(steps=48, light_nodes=16, edges="none"), (24, 22)
    assert suited(scene) == "hybrid"
    camera = scene.cameras["front"]
    image = tidr.render(scene, camera, renderer, *size)
    expected = reference.render(scene, camera, *size, renderer, steps=64, light_steps=12)
    assert psnr(image.rgb.numpy(), expected["rgb"]) > 60
    assert psnr(image.alpha.numpy(), expected["alpha"]) > 70
    assert psnr(image.depth.numpy(), expected["depth"]) > 70
    for left_out in ("ball", "smoke", "garland"):
        geometry, scene.nodes[left_out].geometry = scene.nodes[left_out].geometry, None
        assert psnr(tidr.render(scene, camera, renderer, *size).rgb.numpy(), expected["rgb"]) < 40
        scene.nodes[left_out].geometry = geometry


def wall(z: float, color, half: float = 9.0) -> Mesh:
    corners = [[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]]
    return Mesh(corners, [[0, 1, 2], [0, 2, 3]], colors=np.broadcast_to(color, (4, 3)))


@pytest.mark.row(27)
def test_fog_a_splat_and_a_wall_by_their_formula(f64):
    """Even fog from z = 1 to -1, a wide splat at 0.5 and one behind the wall at -0.2, which the fog goes past."""
    scene = tidr.Scene(tidr.Film(3, 3, (1, 1, 1)))
    tint, paint, shine = np.array([0.2, 0.4, 0.6]), np.array([0.9, 0.5, 0.1]), np.array([0.3, 0.8, 0.2])
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors"))
    scene.add_light("sky", tidr.AmbientLight(1.0))
    scene.add_node("fog", tidr.Node(Volume(np.full((2, 2, 2), 1.0), tint, lower=(-5, -5, -1), upper=(5, 5, 1))))
    scene.add_node("wall", tidr.Node(wall(-0.2, paint), materials=("paint",)))
    beads = Gaussians.from_colors([[0, 0, 0.5], [0, 0, -0.5]], [shine, (1, 0, 0)], 60.0, opacities=0.6)
    scene.add_node("beads", tidr.Node(beads))
    camera = tidr.Camera.look_at((0, 0, 4), (0, 0, 0), height_world=0.3, width=3, height=3)
    for steps in (1, 7):
        image = tidr.render(scene, camera, HybridRenderer(steps=steps, stop=0.0))
        first, second = np.exp(-0.5), np.exp(-0.7)
        expected = (1 - first) * tint + first * (0.6 * shine + 0.4 * ((1 - second) * tint + second * paint))
        assert np.allclose(image.rgb.numpy(), expected, atol=1e-6)
        assert np.allclose(image.alpha.numpy(), 1)
    del scene.nodes["beads"], scene.nodes["wall"]
    assert np.allclose(tidr.render(scene, camera, PLAIN).alpha.numpy(), 0.864665, atol=1e-6)


@pytest.mark.row(1)
@pytest.mark.parametrize(
    ("member", "volume", "own", "hybrid"),
    [
        ("sheet", None, Rasterizer(), PLAIN),
        ("cloud", None, VolumeRenderer(steps=9), PLAIN),
        ("cloud", (1, False, False), VolumeRenderer(steps=9, light_nodes=6, light_steps=5), PLAIN),
        ("beads", None, PointRenderer(), PLAIN),
        (
            "sheet", None, Rasterizer(edges="soft", sigma=1e-3, gamma=1e-2),
            HybridRenderer(edges="soft", sigma=1e-3, gamma=1e-2),
        ),
    ],
)  # fmt: skip
def test_a_scene_of_one_kind_looks_as_its_own_renderer_draws_it(f64, member, volume, own, hybrid):
    scene = only(mixed(1, None if volume is None else medium(*volume), size=(20, 18)), member)
    theirs, mine = tidr.render(scene, "front", own), tidr.render(scene, "front", hybrid)
    same = ("rgb",) if own == Rasterizer(edges="soft", sigma=1e-3, gamma=1e-2) else ("rgb", "alpha")
    if member != "sheet":
        same = [name for name in CHANNELS if name in theirs.channels]
    for name in same:
        assert np.abs(mine.channel(name).numpy() - theirs.channel(name).numpy()).max() < 1e-12, name
    ids = theirs.ids if member == "sheet" else np.full((18, 20), -1)
    assert np.array_equal(mine.ids, ids)
    if member == "sheet" and own.edges == "antialias":
        inside = theirs.alpha.numpy()[..., 0] == 1
        for name in ("depth", "normal"):
            found, expected = mine.channel(name).numpy()[inside], theirs.channel(name).numpy()[inside]
            assert np.abs(found - expected).max() < 1e-6, name


def test_what_is_in_front_hides_what_is_behind(f64):
    scene = mixed(2, size=(20, 18))
    scene["sheet"].translation.set([0.8, 0.6, 1.7])  # between the camera and all else
    image = tidr.render(scene, "front", PLAIN)
    covered = image.ids >= 0
    inside = covered & (tidr.render(scene, "front", Rasterizer()).alpha.numpy()[..., 0] == 1)
    expected = tidr.render(only(scene, "sheet"), "front", PLAIN).rgb.numpy()
    assert inside.sum() > 20
    assert np.allclose(image.rgb.numpy()[inside], expected[inside], atol=1e-12)


def test_two_volumes_and_a_batch_of_views(f64):
    scene = mixed(3)
    scene.add_node("far", tidr.Node(medium(4, False, False), translation=(-1.2, -1.0, -2.8)))
    views = [scene.cameras["front"], tidr.Camera.look_at((-1, 1, 3), (0, 0, 0), height_world=3, width=7, height=6)]
    both = tidr.render(scene, views, PLAIN)
    for index, camera in enumerate(views):
        one = tidr.render(scene, camera, PLAIN)
        for name in CHANNELS:
            assert np.array_equal(both.channel(name).numpy()[index], one.channel(name).numpy()), name
    scene["far"].translation.set([0.2, 0, 0])
    with pytest.raises(SceneError, match="overlap"):
        tidr.render(scene, views, PLAIN)


def defined(scene: tidr.Scene, camera: tidr.Camera | str = "front", renderer: HybridRenderer = PLAIN) -> np.ndarray:
    """Every channel and every gradient is finite; returns rgb."""
    image = tidr.render(scene, camera, renderer)
    for name in CHANNELS:
        assert np.isfinite(image.channel(name).numpy()).all(), name
    alpha = image.alpha.numpy()
    assert alpha.min() >= -1e-6
    assert alpha.max() <= 1 + 1e-6
    arrays = [p for p in scene.parameters("*").values() if not p.constraint.fixed]
    if arrays:
        for name in ("rgb", "depth"):

            def loss(name=name):
                return weighted(tidr.render(scene, camera, renderer).channel(name), 1.0)

            gradients = tape_gradients(loss, arrays)
            for array, gradient in zip(arrays, gradients, strict=True):
                assert np.isfinite(gradient).all(), (name, array.label)
    return image.rgb.numpy()


def test_degenerate_scenes_make_a_picture(f64):
    """R22: nothing at all, nothing seen, no size, no density, eyes inside and on faces."""
    empty = only(mixed(4))
    assert np.allclose(defined(empty), BACKGROUND)
    scene = mixed(4)
    away = tidr.Camera.look_at((0, 0, 9), (0, 0, 20), fov_y_degrees=40, width=5, height=4)
    assert np.allclose(defined(scene, away), BACKGROUND)
    for eye in ((0.1, 0, 0.1), (0.4, -0.2, 0.3)):  # inside the box, among the Gaussians
        defined(scene, tidr.Camera.look_at(eye, (0, 0, -1), fov_y_degrees=60, width=5, height=4))
    scene["cloud"].geometry.density.set(np.zeros(scene["cloud"].geometry.density.shape))
    rest = tidr.render(only(mixed(4), "sheet", "beads"), "front", PLAIN).rgb.numpy()
    assert np.allclose(defined(scene), rest, atol=1e-12)
    scene["sheet"].geometry.vertices.set(np.zeros((3, 3)))
    scene["beads"].geometry.log_scales.set(np.full((8, 3), -30.0))
    defined(scene)
    scene["cloud"].geometry.density.set(np.full(scene["cloud"].geometry.density.shape, 1e4))
    scene["beads"].geometry.opacity_logits.set(np.full((8, 1), 40.0))
    defined(scene)


def test_a_mesh_behind_everything_is_their_background(f64):
    """An even wall far behind looks as a background of its colour."""
    scene = only(mixed(5), "cloud", "beads")
    scene.add_material("even", tidr.Material("lambert", albedo="vertex_colors"))
    scene.lights.clear()
    scene.add_light("sky", tidr.AmbientLight(1.0))
    behind = tidr.render(scene, "front", PLAIN).rgb.numpy()
    scene.add_node("wall", tidr.Node(wall(-6.0, BACKGROUND, 60.0), materials=("even",)))
    image = tidr.render(scene, "front", PLAIN)
    assert np.allclose(image.rgb.numpy(), behind, atol=1e-9)
    assert np.allclose(image.alpha.numpy(), 1)
    defined(scene)


def test_a_nan_is_refused(f64):
    scene = mixed(6)
    for path in ("sheet.vertices", "cloud.density", "beads.means", "paint.albedo"):
        parameter = scene.parameters(path)[path]
        with pytest.raises(TidrError, match=path):
            parameter.set(np.full(parameter.shape, np.nan))

    def loss(scene):
        shown = tidr.render(scene, "front", PLAIN).rgb
        return tidr.losses.mse(shown, Array.of(np.zeros(shown.shape), needs_grad=False))

    for path in ("cloud.color", "beads.means", "beads.sh_dc", "paint.albedo"):  # one that a kernel wrote
        scene = mixed(6)
        parameter = scene.parameters(path)[path]
        parameter.value.from_numpy(np.full_like(parameter.value.to_numpy(), np.nan))
        parameter.touch()
        with pytest.raises(GradientError, match="mse"):
            tape_gradients(lambda scene=scene: loss(scene), [parameter])


@pytest.mark.parametrize(
    ("place", "turn", "kind"),
    [
        ((0.5, 0.2, 0.1), (1, 0, 0, 0), "path"),  # densities that add up
        ((2.0, 0.0, 0.0), (1, 0, 0, 0), "volume"),  # side by side
        ((1.6, 1.6, 0.0), (1, 0, 0, 0.41421356), "path"),
        ((1.8, 1.8, 0.0), (1, 0, 0, 0.41421356), "volume"),  # turned by 45 degrees: only boxes around the boxes overlap
    ],
)
def test_auto_takes_light_transport_for_media_that_overlap(f64, place, turn, kind):
    scene = tidr.Scene()
    for name, where in (("haze", {}), ("cloud", {"translation": place, "rotation": turn})):
        scene.add_node(name, tidr.Node(tidr.Volume(np.full((1, 1, 1), 0.3), albedo=np.full(3, 0.4)), **where))
    assert suited(scene) == kind


def test_auto_takes_what_suits(f64):
    for members in (MEMBERS, MEMBERS[:2], MEMBERS[1:]):
        assert suited(only(mixed(), *members)) == "hybrid"
    assert [suited(only(mixed(), one)) for one in MEMBERS] == ["raster", "volume", "points"]
    scene = mixed()
    scene.add_material("glass", tidr.Material("dielectric"))
    assert suited(only(scene, *MEMBERS[:2])) == "path"  # which draws glass and volumes
    assert suited(tidr.load("caustic")) == "photons"  # as its fit does
    scene = mixed()
    scene.add_node("dots", tidr.Node(PointCloud(np.zeros((2, 3)))))
    with pytest.raises(SceneError, match="choose one of"):
        suited(scene)
    with pytest.raises(SceneError, match=r"nodes\.dots.*PointCloud"):
        tidr.render(scene, "front", PLAIN)
    for broken in ({"edges": "round"}, {"steps": 0}, {"alpha_max": 2.0}, {"light_nodes": 1}):
        with pytest.raises(SceneError, match=next(iter(broken))):
            HybridRenderer(**broken)


@pytest.mark.long
@pytest.mark.row(2)
def test_the_bundled_fit_moves_all_into_place(f32, tmp_path):
    """One parameter of each member, and a light; 50 of its 120 steps."""
    run = CliRunner().invoke(app, ["fit", "mixed", "--steps", "50", "-o", str(tmp_path / "run")])
    assert run.exit_code == 0, run.output
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())["truth"]
    assert set(found) == {"ball.translation", "garland.translation", "smoke.albedo", "sun.irradiance"}
    for path, one in found.items():
        assert one["error"] < 0.1 * one["before"], path
