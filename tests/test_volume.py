"""The volume renderer's pictures: closed forms, the numpy twin, occupancy, composition, degenerate input."""

import numpy as np
import pytest

import tidr
from tidr.buffer import Buffer
from tidr.errors import SceneError
from tidr.fitting.tape import Tape
from tidr.renderers import volume_grid
from tidr.renderers.rays import Rays
from tidr.renderers.volume import VolumeRenderer
from tidr.scene.volume import Volume, resample, softplus_shift

from .gradients import weighted
from .reference import volume as reference
from .volume_scenes import alone, noise


def slab(density: np.ndarray, **options) -> tidr.Scene:
    """A unit cube seen along z through one pixel, whose ray goes through the middle."""
    scene = tidr.Scene(tidr.Film(1, 1, None))
    scene.add_node("cloud", tidr.Node(Volume(density, lower=(-0.5,) * 3, upper=(0.5,) * 3, **options)))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 2), (0, 0, 0), fov_y_degrees=40, width=1, height=1))
    return scene


@pytest.mark.row(27)
def test_constant_density_has_the_known_opacity_and_slope(backend):
    scene = slab(np.full((3, 3, 3), 2.0))
    for steps in (1, 64) if backend.precision == 64 else (7,):
        with Tape() as tape:
            image = tidr.render(scene, "front", VolumeRenderer(steps=steps, stop=0.0))
            tape.add(weighted(image.alpha, 1.0))
        assert image.alpha.numpy().item() == pytest.approx(0.864665, abs=2e-6)
        assert scene["cloud"].geometry.density.grad_numpy().sum() == pytest.approx(0.135335, abs=2e-6)


@pytest.mark.row(27)
def test_quadrature_converges_with_the_square_of_the_steps(f64):
    z = (np.arange(4000) + 0.5) / 4000
    scene = slab(np.broadcast_to((1 + np.sin(3 * z))[:, None, None], (4000, 1, 1)))
    exact = 1 - np.exp(-(1 + (1 - np.cos(3)) / 3))
    errors = []
    for steps in (8, 16, 32):
        image = tidr.render(scene, "front", VolumeRenderer(steps=steps, stop=0.0))
        errors.append(abs(image.alpha.numpy().item() - exact))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


@pytest.mark.row(27)
@pytest.mark.parametrize(
    ("kind", "activation"), [("constant", "relu"), ("color", "none"), ("sh9", "softplus"), ("sh1", "none")]
)
def test_agrees_with_the_twin(f64, kind, activation):
    volume = noise(kind, 2, activation)
    scene = alone(volume, background=(0.2, 0.5, 0.1))
    image = tidr.render(scene, "front", VolumeRenderer(steps=11, stop=0.05))
    camera = scene["front"]
    rays = Rays.of_cameras([camera], 6, 5)
    origins, directions = rays.origins.numpy(), rays.directions.numpy()
    cosines = rays.cosines.numpy()[:, 0]
    rows = [reference.march(volume, o, d, 11, 0.05) for o, d in zip(origins, directions, strict=True)]
    alpha = np.array([row[1] for row in rows])
    rgb = np.array([row[0] for row in rows]) + (1 - alpha)[:, None] * [0.2, 0.5, 0.1]
    assert np.allclose(image.rgb.numpy().reshape(-1, 3), rgb, atol=1e-12)
    assert np.allclose(image.alpha.numpy().ravel(), alpha, atol=1e-12)
    distance = np.array([row[2] for row in rows]) / np.maximum(alpha, 1e-30)
    assert np.allclose(image.channel("distance").numpy().ravel(), np.where(alpha > 1e-6, distance, 0))
    assert np.allclose(image.depth.numpy().ravel(), np.where(alpha > 1e-6, cosines * distance, 0))


def jittered() -> np.ndarray:
    renderer = VolumeRenderer(steps=20, jitter=True, seed=5)
    return tidr.render(alone(noise("sh4", 3)), "front", renderer).rgb.numpy()


@pytest.fixture
def in_64_bits(f64) -> np.ndarray:
    return jittered()


def test_backends_agree(in_64_bits, vulkan):
    assert np.allclose(in_64_bits, jittered(), atol=1e-5)


def test_jitter_is_a_hash_and_right_on_average(f64):
    scene = alone(noise("color", 1), (16, 12))
    fine = tidr.render(scene, "front", VolumeRenderer(steps=400)).rgb.numpy()
    turns = [tidr.render(scene, "front", VolumeRenderer(steps=8, jitter=True, seed=s)).rgb.numpy() for s in range(24)]
    again = tidr.render(scene, "front", VolumeRenderer(steps=8, jitter=True, seed=3)).rgb.numpy()
    assert np.array_equal(again, turns[3])
    assert not np.array_equal(turns[0], turns[1])
    assert np.abs(np.mean(turns, 0) - fine).mean() < 3e-3


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_occupancy_changes_nothing(f64, activation):
    density = np.zeros((24, 20, 22))
    density[10:13, 6:9, 15:18] = 9.0
    density[0, 0, 0] = 4.0
    if activation == "relu":
        density[density == 0] = -1.0
    rng = np.random.default_rng(0)
    volume = Volume(density, rng.random((*density.shape, 3)), density_activation=activation)
    scene = alone(volume, (24, 18))
    assert volume_grid.packed_grid(volume, volume.color).blocks(0.0) is not None
    found = []
    for skip in (None, 0.0):
        for jitter in (False, True):
            with Tape() as tape:
                image = tidr.render(scene, "front", VolumeRenderer(steps=50, skip=skip, jitter=jitter))
                tape.add(weighted(image.rgb, 1.0))
            found.append([image.rgb.numpy(), *(p.grad_numpy() for p in scene.parameters().values())])
    for plain, skipped in ((found[0], found[2]), (found[1], found[3])):
        for one, other in zip(plain, skipped, strict=True):
            assert np.allclose(one, other, rtol=1e-12, atol=1e-14)


def test_a_threshold_skips_thin_air_and_hardly_shows(f64):
    z, y, x = (np.indices((24, 24, 24)) + 0.5) / 12 - 1
    volume = Volume(10 * np.exp(-20 * (x * x + y * y + z * z)))
    scene = alone(volume, (24, 18))
    exact, quick = (tidr.render(scene, "front", VolumeRenderer(skip=s)).rgb.numpy() for s in (0.0, 3e-4))
    assert 0 < np.abs(exact - quick).max() < 1e-3


def test_occupancy_follows_a_changed_grid(f64):
    volume = Volume(np.zeros((8, 8, 8)))
    scene = alone(volume)
    assert not tidr.render(scene, "front", VolumeRenderer()).alpha.numpy().any()
    volume.density.set(np.full((8, 8, 8), 3.0))
    assert tidr.render(scene, "front", VolumeRenderer()).alpha.numpy().max() > 0.9


def test_volumes_hide_each_other_in_the_order_of_each_ray(f64):
    def picture(places, colors) -> np.ndarray:
        scene = tidr.Scene(tidr.Film(9, 9, (0.1, 0.2, 0.3)))
        for name, place in places.items():
            volume = Volume(np.full((2, 2, 2), 1.5), colors[name])
            scene.add_node(name, tidr.Node(volume, translation=(0, 0, place), scale=0.4))
        scene.add_camera("front", tidr.Camera.look_at((0, 0, 5), (0, 0, 0), fov_y_degrees=5, width=9, height=9))
        image = tidr.render(scene, "front", VolumeRenderer(steps=4, stop=0.0))
        assert np.allclose(image.alpha.numpy(), 1 - np.exp(-1.5 * 0.8 * len(places)), atol=2e-3)
        return image.rgb.numpy()[4, 4]

    colors = {"a": (1.0, 0, 0), "b": (0, 1.0, 0), "c": (0, 0, 1.0)}
    left = np.exp(-1.5 * 0.8)
    for places in ({"a": 1.0, "b": 0.0, "c": -1.0}, {"a": -1.0, "b": 1.0, "c": 0.0}):
        order = sorted(places, key=lambda name: -places[name])
        wanted = sum((1 - left) * left**k * np.array(colors[name]) for k, name in enumerate(order))
        assert np.allclose(picture(places, colors), wanted + left**3 * np.array([0.1, 0.2, 0.3]), atol=1e-6)


def test_overlapping_boxes_are_refused(f64):
    scene = alone(noise("color"))
    scene.add_node("other", tidr.Node(noise("color"), translation=(0.5, 0.2, 0.1)))
    with pytest.raises(SceneError, match=r"cloud, other.*overlap"):
        tidr.render(scene, "front", VolumeRenderer())


def test_normals_look_out_of_a_ball(f64):
    z, y, x = (np.indices((24, 24, 24)) + 0.5) / 12 - 1
    volume = Volume(200.0 * np.clip(0.7 - np.sqrt(x * x + y * y + z * z), 0, 0.1))
    scene = tidr.Scene(tidr.Film(1, 1))
    scene.add_node("ball", tidr.Node(volume, rotation=(0.9, 0.3, 0.2, 0.1), scale=(1.0, 1.2, 0.8)))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=40, width=1, height=1))
    normal = tidr.render(scene, "front", VolumeRenderer(steps=256)).normal.numpy()[0, 0]
    to_object = np.linalg.inv(scene.world_matrices()["ball"])[:3, :3]
    at = to_object @ np.array([0, 0, 1.0])
    wanted = to_object.T @ at
    assert np.allclose(normal, wanted / np.linalg.norm(wanted), atol=0.03)


@pytest.mark.row(27)
def test_degenerate_input_gives_a_defined_image_and_finite_gradients(backend):
    volumes = {
        "zero": Volume(np.zeros((4, 4, 4)), np.ones((4, 4, 4, 3))),
        "opaque": Volume(np.full((4, 4, 4), 1e6), np.ones((4, 4, 4, 3))),
        "dead": Volume(np.full((4, 4, 4), -1.0), density_activation="relu"),
    }
    looks = {
        "away": tidr.Camera.look_at((0, 0, 9), (0, 0, 20), fov_y_degrees=40, width=5, height=3),
        "inside": tidr.Camera.look_at((0.1, 0.2, 0.1), (0, 0, -5), fov_y_degrees=40, width=5, height=3),
        "along": tidr.Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=40, width=5, height=3),  # by its middle pixel
        "edge": tidr.Camera.look_at((1.0, 0, 3), (1.0, 0, 0), fov_y_degrees=40, width=5, height=3),
    }
    for volume in volumes.values():
        scene = tidr.Scene(tidr.Film(5, 3, (0.2, 0.3, 0.4)))
        scene.add_node("cloud", tidr.Node(volume))
        for name, camera in looks.items():
            scene.add_camera(name, camera)
        with Tape() as tape:
            image = tidr.render(scene, list(looks.values()), VolumeRenderer(steps=6))
            for channel in (image.rgb, image.alpha, image.depth):
                assert np.isfinite(channel.numpy()).all()
                tape.add(weighted(channel, 1.0))
        assert all(np.isfinite(p.grad_numpy()).all() for p in scene.parameters().values())
    empty = tidr.render(tidr.Scene(tidr.Film(5, 3, (0.2, 0.3, 0.4))), looks["along"], VolumeRenderer())
    assert np.allclose(empty.rgb.numpy(), (0.2, 0.3, 0.4))


def test_pixels_are_those_of_the_image(f64):
    scene = alone(noise("color"), (6, 5))
    whole = tidr.render(scene, "front", VolumeRenderer()).rgb.numpy()
    chosen = np.array([[0, 4, 1], [0, 0, 5], [0, 2, 2]], np.int32)
    pixels = Buffer((9,), "int")
    pixels.ndarray.from_numpy(chosen.ravel())
    part = VolumeRenderer().render_pixels(scene, [scene["front"]], [(5, 6)], pixels, 3)
    assert np.allclose(part.rgb.numpy(), whole[chosen[:, 1], chosen[:, 2]])


@pytest.mark.row(27)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"density": np.zeros((0, 2, 2))}, "density.*none empty"),
        ({"density": np.zeros((2, 2))}, "density.*3 axes"),
        ({"density": np.full((2, 2, 2), np.nan)}, "not finite"),
        ({"density": -np.ones((2, 2, 2))}, "negative at index"),
        ({"density": "fog"}, "no array"),
        ({"density": np.ones((2, 2, 2)), "color": np.ones((2, 2, 3, 3))}, "color.*expected"),
        ({"density": np.ones((2, 2, 2)), "color": (1, 1, np.inf)}, "color"),
        ({"density": np.ones((2, 2, 2)), "sh": np.ones((2, 2, 2, 5, 3))}, "sh.*K is 1, 4, 9 or 16"),
        ({"density": np.ones((2, 2, 2)), "sh": np.ones((2, 2, 2, 4, 3)), "color": (1, 1, 1)}, "beside color"),
        ({"density": np.ones((2, 2, 2)), "lower": (1, 0, 0)}, "lower < upper"),
        ({"density": np.ones((2, 2, 2)), "density_activation": "exp"}, "density_activation"),
        ({"density": np.ones((2, 2, 2)), "albedo": (0.5, 0.5, 0.5), "g": 1.0}, "between -1 and 1"),
    ],
)
def test_bad_volumes_are_refused(f64, arguments, said):
    with pytest.raises(SceneError, match=said):
        Volume(**{"albedo": None} | arguments)


@pytest.mark.parametrize("options", [{"steps": 0}, {"stop": 1.0}, {"skip": -1.0}, {"skip": float("nan")}])
def test_bad_settings_are_refused(options):
    with pytest.raises(SceneError, match=next(iter(options))):
        VolumeRenderer(**options)


def test_nan_does_not_get_into_a_grid(f64):
    volume = noise("color")
    bad = volume.density.numpy()
    bad[1, 2, 3] = np.nan
    with pytest.raises(SceneError, match=r"\(1, 2, 3\) is not finite"):
        volume.density.set(bad)


def test_upsampling_keeps_linear_fields_and_everything_else(f64):
    z, y, x = np.indices((4, 5, 6)) + 0.5
    line = 2 + x / 6 - y / 5 + z / 4
    fine = resample(line, (8, 10, 12))
    z, y, x = np.indices((8, 10, 12)) + 0.5
    assert np.allclose(fine[1:-1, 1:-1, 1:-1], (2 + x / 12 - y / 10 + z / 8)[1:-1, 1:-1, 1:-1])
    old = noise("sh4", activation="softplus")
    new = old.resampled((9, 8, 7))
    assert old.sh is not None
    assert new.sh is not None
    assert new.shape == (9, 8, 7)
    assert new.sh.shape == (9, 8, 7, 4, 3)
    assert (new.density_activation, new.density_shift) == ("softplus", 0.3)
    assert np.allclose(resample(old.sh.numpy(), old.shape), old.sh.numpy())
    with pytest.raises(SceneError, match="shape"):
        old.resampled((0, 1, 2))


def test_softplus_shift_gives_the_opacity_asked_for(f64):
    shift = softplus_shift(1e-6, 0.02)
    scene = slab(np.zeros((2, 2, 2)), density_activation="softplus", density_shift=shift)
    alpha = tidr.render(scene, "front", VolumeRenderer(steps=50)).alpha.numpy().item()
    assert alpha == pytest.approx(1 - (1 - 1e-6) ** 50, rel=1e-6)
