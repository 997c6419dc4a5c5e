"""Lenses and meters in scenes: files, refusals, reports, and a lens found from a picture."""

import json

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.report import turntable
from tidr.fitting.tape import Loss, Operation, run
from tidr.renderers.transport_sensor import film_filter
from tidr.scene.camera import Camera

from .sensors import Traced, camera

LENS_AND_METERS = """
[cameras.lens]
position = [1, 0, 4]
target = [0, 0, 0]
fov_y_degrees = 40
aperture_radius = 0.25
focus_distance = 3.5
[cameras.spot]
type = "radiance_meter"
position = [0, 1, 4]
target = [0, 0, 0.5]
[cameras.plate]
type = "irradiance_meter"
position = [0, -1, 0]
normal = [0, 2, 0]
"""


def test_lenses_and_meters_come_from_files_and_go_back(f64, tmp_path):
    (tmp_path / "scene.toml").write_text(LENS_AND_METERS)
    scene = tidr.load(tmp_path / "scene.toml")
    assert (scene["spot"].width, scene["spot"].height) == (1, 1)
    assert isinstance(scene["plate"], tidr.IrradianceMeter)
    tidr.write_scene(scene, tmp_path / "again.toml")
    again = tidr.load(tmp_path / "again.toml")
    expected = {
        "lens.aperture_radius": 0.25, "lens.focus_distance": 3.5, "spot.position": [0, 1, 4],
        "spot.target": [0, 0, 0.5],
        "plate.position": [0, -1, 0], "plate.normal": [0, 1, 0],
    }  # fmt: skip
    for path, value in expected.items():
        for each in (scene, again):
            assert np.allclose(each.parameters()[path].numpy(), value), path
    assert set(scene.parameters()) == set(again.parameters())


def test_cameras_of_a_view_set_may_have_a_lens(f64, tmp_path):
    frame = {"file_path": "missing.png", "transform_matrix": np.eye(4).tolist()}
    about = {"fl_x": 50, "w": 40, "h": 30, "frames": [frame]}
    (tmp_path / "transforms.json").write_text(json.dumps(about))
    text = '[cameras.rig]\nfrom = "transforms.json"\naperture_radius = 0.1\nfocus_distance = 2\n'
    (tmp_path / "scene.toml").write_text(text)
    rig = tidr.load(tmp_path / "scene.toml")["rig"]
    assert rig.aperture_radius.numpy() == pytest.approx(0.1)
    assert rig.focus_distance.numpy() == pytest.approx(2)


def test_meters_turn_with_a_world_whose_up_is_z(f64, tmp_path):
    (tmp_path / "scene.toml").write_text('up = "z"\n' + LENS_AND_METERS)
    scene = tidr.load(tmp_path / "scene.toml")
    assert np.allclose(scene["spot"].position.numpy(), [0, 4, -1])
    assert np.allclose(scene["spot"].target.numpy(), [0, 0.5, 0])
    assert np.allclose(scene["plate"].normal.numpy(), [0, 0, -1])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("focus_distance = 3.5", ""), "cameras.lens.focus_distance: is missing, a lens needs aperture_radius and"),
        (("aperture_radius = 0.25", ""), "cameras.lens.aperture_radius: is missing"),
        (("aperture_radius = 0.25", "aperture_radius = -1"), "cameras.lens.aperture_radius"),
        (("focus_distance = 3.5", "focus_distance = 0"), "cameras.lens.focus_distance"),
        (
            ("fov_y_degrees = 40", 'type = "orthographic"\nheight = 2'),
            "cameras.lens.aperture_radius: does not belong to a camera of type 'orthographic'",
        ),
        (('"radiance_meter"', '"radiance"'), "cameras.spot.type: is 'radiance', did you mean 'radiance_meter'?"),
        (("target = [0, 0, 0.5]", ""), "cameras.spot.target"),
        (("target = [0, 0, 0.5]", "target = [0, 1, 4]"), "cameras.spot: the target equals the position"),
        (("normal = [0, 2, 0]", "normal = [0, 0, 0]"), "cameras.plate: the normal has length 0"),
        (("normal = [0, 2, 0]", "normal = [0, 2, 0]\nfocal = 3"), "cameras.plate.focal: unknown key"),
    ],
)
def test_faults_of_lenses_and_meters_name_their_keys(tmp_path, change, expected):
    assert change[0] in LENS_AND_METERS
    (tmp_path / "scene.toml").write_text(LENS_AND_METERS.replace(*change))
    with pytest.raises(tidr.FileError) as caught:
        tidr.load(tmp_path / "scene.toml")
    assert expected in str(caught.value)


def test_wrong_sensors_are_refused():
    for kind, options, message in (
        ("perspective", {"aperture_radius": 0.1}, "both"),
        ("perspective", {"aperture_radius": -0.1, "focus_distance": 1}, "aperture_radius is -0.1"),
        ("perspective", {"aperture_radius": 0.1, "focus_distance": 0}, "focus_distance is 0"),
        ("perspective", {"aperture_radius": float("nan"), "focus_distance": 1}, "aperture_radius is nan"),
        ("orthographic", {"aperture_radius": 0.1, "focus_distance": 1}, "orthographic"),
    ):
        with pytest.raises(SceneError, match=message):
            Camera((0, 0, 3), (1, 0, 0, 0), (5, 5), (2, 2), 4, 4, kind=kind, **options)
    with pytest.raises(SceneError, match="target equals"):
        tidr.RadianceMeter((1, 2, 3), (1, 2, 3))
    with pytest.raises(SceneError, match="length 0"):
        tidr.IrradianceMeter((1, 2, 3), (0, 0, 0))
    with pytest.raises(SceneError, match="tent"):
        film_filter("tend", "path.filter")


def test_a_fit_to_pictures_and_meters_turns_around_what_the_cameras_see(f32):
    scene, seeing = tidr.Scene(), camera("perspective")
    scene.add_node("ball", tidr.Node(tidr.Mesh(*tidr.icosphere(0))))
    pictures = [np.zeros((1, 1, 3)), np.zeros((4, 6, 3))]
    both = turntable(scene, tidr.Rasterizer(), tidr.Views([camera("irradiance_meter"), seeing], pictures))
    assert both == turntable(scene, tidr.Rasterizer(), tidr.Views([seeing], pictures[1:]))


def test_what_one_camera_saw_is_not_shown_from_behind(f32):
    class Watched(tidr.Rasterizer):
        def render(self, scene, cameras, width, height):
            places.extend(each.position.numpy() for each in cameras)
            return super().render(scene, cameras, width, height)

    scene, black = tidr.Scene(), np.zeros((4, 4, 3))
    front, left, top = (
        Camera.look_at(place, (0, 0, 0), (0, 0.6, 0.8), fov_y_degrees=40, width=4, height=4)
        for place in ((0, 1, 3), (-3, 1, 0), (0, 3, 0))
    )
    for cameras, widest in (([front], 30), ([front, left], 180), ([top], 180)):
        places: list[np.ndarray] = []
        turntable(scene, Watched(), tidr.Views(cameras, [black] * len(cameras)))
        turns = np.degrees([np.arctan2(x, z) for x, _, z in places])
        assert np.abs(turns).max() == pytest.approx(widest, abs=1e-3)


def test_a_pinhole_has_no_parameters_of_a_lens():
    assert list(camera("perspective").parameters()) == ["position", "rotation", "focal", "principal_point"]
    assert list(camera("lens").parameters())[4:] == ["aperture_radius", "focus_distance"]


@pytest.mark.parametrize("kind", ["lens", "radiance_meter", "irradiance_meter"])
@pytest.mark.parametrize("renderer", ["raster", "volume", "voxels", "points"])
def test_other_renderers_refuse_what_they_cannot_draw(f32, kind, renderer):
    scene = tidr.Scene()
    scene.add_camera("odd", camera(kind))
    shape = tidr.PointCloud(np.zeros((1, 3)), radii=0.1) if renderer == "points" else tidr.Mesh(*tidr.icosphere(0))
    scene.add_node("ball", tidr.Node(shape))
    with pytest.raises(SceneError, match=r'odd.*does not draw.*renderer "path"'):
        tidr.render(scene, "odd", renderer).rgb.numpy()


def test_a_meter_has_no_picture_plane():
    scene = tidr.Scene()
    meter = scene.add_camera("probe", camera("irradiance_meter"))
    with pytest.raises(SceneError, match="probe: is a irradiance_meter and has no picture plane"):
        meter.projection(4, 4)
    with pytest.raises(SceneError, match="has no focal"):
        _ = meter.focal


def shining_floor(rays: Traced) -> Array:
    """[n, 1] radiance where rays meet the plane y = -1, a smooth pattern in x and z; differentiable to the rays."""
    waves, phases = np.array([[7.0, 3.0], [-4.0, 8.0], [2.0, -11.0]]), np.array([0.3, 1.1, 2.0])
    out = Array((rays.origins.rows, 1))

    def meet() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        o, d = rays.origins.numpy(), rays.directions.numpy()
        t = (-1 - o[:, 1]) / d[:, 1]
        return t, d, (o + t[:, None] * d)[:, [0, 2]] @ waves.T + phases

    def forward() -> None:
        out.set(0.5 + np.sin(meet()[2]).sum(1, keepdims=True) / 6)

    def backward() -> None:
        t, d, angles = meet()
        to_point = np.zeros_like(d)
        to_point[:, [0, 2]] = (np.cos(angles) / 6 * out.grad_numpy()) @ waves
        to_t = (to_point * d).sum(1)
        to_o, to_d = to_point.copy(), t[:, None] * to_point
        to_o[:, 1] -= to_t / d[:, 1]
        to_d[:, 1] -= to_t * t / d[:, 1]
        rays.origins.set_grad(rays.origins.grad_numpy() + to_o)
        rays.directions.set_grad(rays.directions.grad_numpy() + to_d)

    run(Operation(forward, backward, [rays.origins, rays.directions], [out], "floor"))
    return out


@pytest.mark.row(156)
def test_lens_and_focal_length_are_found_from_one_picture(f64):
    """10 % off in aperture, focus and focal length; a floor that runs into depth tells them apart (problem T16)."""
    size, samples, scene = (36, 24), 12, tidr.Scene()
    rows, columns = (np.repeat(axis.reshape(-1), samples) for axis in np.mgrid[: size[1], : size[0]])
    numbers = np.random.default_rng(0).uniform(size=(rows.size, 4))
    where = np.column_stack([np.zeros(rows.size), columns + numbers[:, 0], rows + numbers[:, 1], numbers[:, 2:]])
    lens = scene.add_camera(
        "lens",
        Camera.look_at(
            (0, 0.4, 2), (0, -1, 0), fov_y_degrees=40, width=36, height=24, aperture_radius=0.2, focus_distance=2.4
        ),
    )
    truth = {name: each.numpy() for name, each in lens.parameters().items()}
    names = ("aperture_radius", "focus_distance", "focal")

    def picture() -> Array:
        return shining_floor(Traced([lens], where, size))

    def developed(light: Array) -> np.ndarray:
        return light.numpy().reshape(-1, samples).mean(1)

    target = developed(picture())
    for name, factor in zip(names, (0.9, 1.1, 1.1), strict=True):
        lens.parameters()[name].set(truth[name] * factor)
    steps = [tidr.Adam(scene.parameters(f"lens.{name}"), 0.01 * float(truth[name].mean())) for name in names]
    optimizer = tidr.Optimizers(steps)
    for _ in range(150):
        for each in steps:
            each.lr *= 0.98
        with tidr.Tape(scene.parameters(*(f"lens.{name}" for name in names))) as tape:
            light = picture()
            tape.add(squared(light, target, samples))
        optimizer.step()
    for name in names:
        assert np.allclose(lens.parameters()[name].numpy(), truth[name], rtol=0.01), name


def squared(light: Array, target: np.ndarray, samples: int) -> Loss:
    """Mean squared error of the means of so many rays each."""
    out = Array(())

    def off() -> np.ndarray:
        return light.numpy().reshape(-1, samples).mean(1) - target

    def forward() -> None:
        out.set((off() ** 2).mean())

    def backward() -> None:
        each = 2 * off() / target.size / samples * float(out.grad_numpy())
        light.set_grad(light.grad_numpy() + np.repeat(each, samples)[:, None])

    run(Operation(forward, backward, [light], [out], "squared error"))
    return Loss(out, "squared error")
