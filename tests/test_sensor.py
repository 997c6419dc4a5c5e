"""Sensors of light transport: rays through film and lens, filters, meters, what is seen where; gradients."""

import numpy as np
import pytest

import tidr
from tidr import runtime
from tidr.array import Array
from tidr.fitting.tape import Loss
from tidr.kernels.transport import sensor as kernels
from tidr.renderers.rays import Rays
from tidr.renderers.transport_sensor import FILTERS, Sensors, film_filter
from tidr.scene.camera import Camera

from .gradients import tape_gradients, weighted
from .sensors import SIZE, Seen, Traced, camera, densities, filtered, places, sequence
from .test_rays import total
from .voxel_scenes import against_f64

VARIANCES = [("box", 1 / 12), ("tent", 1 / 6), ("gaussian", 0.25 * (1 - 8 / (np.e**8 - 1)))]


def test_rays_through_pixel_centres_are_those_of_the_other_renderers(backend):
    cameras = [camera("perspective"), camera("orthographic")]
    rows, columns = (axis.reshape(-1) + 0.5 for axis in np.mgrid[: SIZE[1], : SIZE[0]])
    view = np.repeat([0, 1], rows.size)
    where = np.column_stack([view, np.tile(columns, 2), np.tile(rows, 2), np.full((view.size, 2), 0.3)])
    found, expected = Traced(cameras, where), Rays.of_cameras(cameras, *SIZE)
    for name in ("origins", "directions", "cosines"):
        assert np.allclose(getattr(found, name).numpy(), getattr(expected, name).numpy(), atol=1e-5)
    assert np.array_equal(found.weights.numpy(), np.ones((view.size, 1)))


def test_rays_of_a_lens_with_distortion_are_those_of_the_other_renderers(f64):
    cameras = [camera("distorted"), camera("radiance_meter")]
    rows, columns = (axis.reshape(-1) + 0.5 for axis in np.mgrid[: SIZE[1], : SIZE[0]])
    found = Traced(cameras, np.column_stack([0 * rows, columns, rows, 0 * rows, 0 * rows]))
    expected = Rays.of_cameras(cameras[:1], *SIZE)
    for name in ("origins", "directions", "cosines"):
        assert np.allclose(getattr(found, name).numpy(), getattr(expected, name).numpy(), atol=1e-12)


def test_rays_of_a_film_point_leave_all_over_the_lens_and_meet_in_focus(f64):
    lens, pinhole = camera("lens"), camera("perspective")
    where = places(1, 200)
    where[:, 1:3] = 4.3, 1.9
    rays, centre = Traced([lens], where), Traced([pinhole], where[:1])
    right, up, back, eye = lens.camera_to_world[:3].T
    offsets = (rays.origins.numpy() - eye) @ np.column_stack([right, up, back]) / 0.3
    assert np.allclose(offsets[:, 2], 0)
    assert (np.linalg.norm(offsets, axis=1) <= 1).all()
    assert np.allclose((offsets[:, :2] ** 2).mean(0), 0.25, atol=0.04)  # of a disc evenly filled
    focus = eye + centre.directions.numpy()[0] * 2.1 / centre.cosines.numpy()[0]
    at = rays.origins.numpy() + rays.directions.numpy() * 2.1 / rays.cosines.numpy()
    assert np.allclose(at, focus)
    assert np.allclose(np.linalg.norm(rays.directions.numpy(), axis=1), 1)
    assert np.allclose(-rays.directions.numpy() @ back, rays.cosines.numpy()[:, 0])


@pytest.mark.row(156)
@pytest.mark.parametrize("depth", [0.7, 2.1, 3.0, 50.0])
def test_the_circle_of_confusion_is_that_of_a_thin_lens(f64, depth):
    lens = camera("lens")
    focal = lens.focal.numpy()[0] * SIZE[0] / lens.width
    expected = 2 * 0.3 * abs(depth - 2.1) / depth * focal / 2.1
    opposite = np.array([[0, 4.3, 1.9, 1.0, 0.0], [0, 4.3, 1.9, 1.0, 0.5]])  # left and right rim of the lens
    rays = Traced([lens], opposite)
    at = rays.origins.numpy() + rays.directions.numpy() * depth / rays.cosines.numpy()
    assert np.linalg.norm(at[1] - at[0]) * focal / depth == pytest.approx(expected, abs=1e-12)
    seen = Seen([lens], opposite, Array.of(at[[0, 0]])).film.numpy()
    assert np.allclose(seen[0], [4.3, 1.9])
    assert np.linalg.norm(seen[1] - seen[0]) == pytest.approx(expected, abs=1e-12)


def test_a_closed_aperture_is_a_pinhole(f64):
    closed = Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=40, aperture_radius=0, focus_distance=2)
    pinhole = Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=40)
    where = places(1, 50)
    one, other = Traced([closed], where), Traced([pinhole], where)
    for name in ("origins", "directions", "cosines"):
        assert np.allclose(getattr(one, name).numpy(), getattr(other, name).numpy())


@pytest.mark.row(154, 155, 156)
@pytest.mark.parametrize("kind", ["perspective", "orthographic", "lens", "radiance_meter", "distorted"])
def test_gradients_of_rays_reach_every_parameter(backend, kind):
    def problem():
        cameras, where = [camera(kind), camera("perspective"), camera(kind)], places(3, 4, seed=2)

        def function() -> Loss:
            rays = Traced(cameras, where)
            return total([rays.origins, rays.directions, rays.cosines], 3)

        return function, list(cameras[0].parameters().values())

    against_f64(("rays", kind), problem, backend, 0)


@pytest.mark.parametrize("kind", ["perspective", "orthographic", "lens"])
def test_what_is_seen_at_a_film_point_lies_on_its_ray(backend, kind):
    where = places(1, 40, seed=1)
    rays = Traced([camera(kind)], where)
    distances = np.random.default_rng(1).uniform(0.5, 6, (40, 1))
    o, d = rays.origins.numpy(), rays.directions.numpy()
    seen = Seen([camera(kind)], where, Array.of(o + distances * d))
    assert np.allclose(seen.film.numpy(), where[:, 1:3], atol=2e-3)
    assert np.allclose(seen.toward.numpy(), -d, atol=1e-4)
    assert np.allclose(seen.distances.numpy(), distances, rtol=1e-4)
    assert (Seen([camera(kind)], where, Array.of(o - distances * d)).importance.numpy() == 0).all()


@pytest.mark.parametrize("kind", ["perspective", "orthographic", "lens"])
def test_gradients_of_where_a_point_is_seen(backend, kind):
    def problem():
        cameras, rng = [camera(kind)], np.random.default_rng(4)
        where, points = places(1, 6, seed=5), tidr.Parameter(rng.uniform(-0.5, 0.5, (6, 3)))
        return lambda: total([Seen(cameras, where, points).film], 6), [points, *cameras[0].parameters().values()]

    against_f64(("seen", kind), problem, backend, 0)


def test_points_behind_and_meters_are_not_seen_and_have_no_gradient(f64):
    kinds = ("perspective", "radiance_meter", "irradiance_meter")
    cameras, points = [camera(kind) for kind in kinds], tidr.Parameter([[0.8, 0.8, 9.0]] * 3)

    def function() -> Loss:
        return total([Seen(cameras, places(3, 1), points).film], 1)

    arrays = [points, *(parameter for each in cameras for parameter in each.parameters().values())]
    assert not any(gradient.any() for gradient in tape_gradients(function, arrays))
    assert not Seen(cameras, places(3, 1), points).importance.numpy().any()


@pytest.mark.parametrize(
    ("kind", "film"), [*(("perspective", film) for film in FILTERS), ("orthographic", "box"), ("lens", "tent")]
)
def test_light_splatted_to_the_film_is_what_rays_gather(f64, kind, film):
    """A shining parallelogram: its picture by rays that may hit it, and by its points, seen on the film."""
    corner, edges = np.array([-0.5, -0.3, 0.2]), np.array([[0.9, 0.2, 0.1], [0.1, 0.7, -0.4]])
    made, code, n = camera(kind), film_filter(film, "film"), 200_000
    normal = np.cross(*edges)
    marks = Array.of(corner + np.array([[0.5, 0.5], [0.5, 0.02], [0.03, 0.96]]) @ edges)  # inside, edge, corner
    pixels = np.floor(Seen([made], np.zeros((3, 5)), marks).film.numpy()).astype(int)
    numbers = sequence(n, 4)
    points = Array.of(corner + numbers[:, :2] @ edges)
    where = np.column_stack([np.zeros((n, 3)), numbers[:, 2:]])
    seen = Seen([made], where, points)
    light = np.abs(seen.toward.numpy() @ normal) / n * seen.importance.numpy()[:, 0]  # area times cosine
    given, offsets = Array.of(numbers[:, :2]), Array((n, 2))
    filtered(code, n, given.value, offsets.value)
    for column, row in pixels:
        away, share = Array.of(seen.film.numpy() - [column + 0.5, row + 0.5]), Array((n, 1))
        densities(code, n, away.value, share.value)
        on_film = offsets.numpy() + np.array([column + 0.5, row + 0.5])
        rays = Traced([made], np.column_stack([np.zeros(n), on_film, numbers[:, 2:]]))
        o, d = rays.origins.numpy(), rays.directions.numpy()
        hit = o + d * ((corner - o) @ normal / (d @ normal))[:, None] - corner
        inside = hit @ np.linalg.pinv(edges)
        gathered = ((inside >= 0) & (inside <= 1)).all(1).mean()
        assert gathered > 0.2
        assert (light * share.numpy()[:, 0]).sum() == pytest.approx(gathered, abs=2e-3)


@pytest.mark.parametrize(("film", "variance"), VARIANCES)
def test_film_points_follow_the_filter(backend, film, variance):
    n, code = 1 << 16, film_filter(film, "film")
    numbers, offsets = Array.of(np.random.default_rng(3).uniform(size=(n, 2))), Array((n, 2))
    filtered(code, n, numbers.value, offsets.value)
    found, reach = offsets.numpy().astype(np.float64), kernels.REACH[code]
    assert np.abs(found).max() <= reach * (1 + 1e-6)
    assert np.abs(found.mean(0)).max() < 4 * np.sqrt(variance / n)
    assert np.allclose((found**2).mean(0), variance, rtol=0.02)
    assert abs((found[:, 0] * found[:, 1]).mean()) < 4 * variance / np.sqrt(n)

    cells, fine = 8, 32  # chi-square against the density, whose integral over a cell is a sum over finer ones
    centres = (np.arange(cells * fine) + 0.5) / (cells * fine) * 2 * reach - reach
    grid = Array.of(np.stack(np.meshgrid(centres, centres, indexing="ij"), -1).reshape(-1, 2))
    out = Array((grid.rows, 1))
    densities(code, grid.rows, grid.value, out.value)
    share = out.numpy().astype(np.float64).reshape(cells, fine, cells, fine).mean((1, 3)) * (2 * reach / cells) ** 2
    assert share.sum() == pytest.approx(1, abs=2e-3)
    counts = np.histogram2d(*found.T, bins=cells, range=[(-reach, reach)] * 2)[0]
    full = share * n > 5
    chi = ((counts - share * n)[full] ** 2 / (share * n)[full]).sum()
    assert abs(chi - full.sum()) < 4 * np.sqrt(2 * full.sum())


def test_an_irradiance_meter_looks_over_its_hemisphere_by_the_cosine(backend):
    meter, n = camera("irradiance_meter"), 20_000
    where = np.column_stack([np.zeros((n, 3)), np.random.default_rng(2).uniform(size=(n, 2))])
    rays = Traced([meter], where)
    d, normal = rays.directions.numpy().astype(np.float64), meter.normal.numpy()
    cosines = d @ normal
    assert np.allclose(np.linalg.norm(d, axis=1), 1, atol=1e-5)
    assert np.allclose(rays.origins.numpy(), meter.position.numpy())
    assert np.allclose(rays.weights.numpy(), np.pi)  # a constant radiance L makes pi L
    assert cosines.min() > 0
    # the square of the cosine is even in [0, 1) and the azimuth even all around
    assert np.abs(np.sort(cosines**2) - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)
    assert np.allclose(d.mean(0), normal * 2 / 3, atol=4 * 0.5 / np.sqrt(n))
    flat = d - cosines[:, None] * normal
    assert np.allclose((flat.T @ flat) / n, 0.25 * (np.eye(3) - np.outer(normal, normal)), atol=0.01)


def test_the_normal_of_an_irradiance_meter_has_the_gradient_of_irradiance(backend):
    """Radiance a + b . d has the irradiance pi a + 2 pi / 3 b . n, whose gradient along the sphere is known."""
    meter, b, across = camera("irradiance_meter"), np.array([0.3, -0.5, 0.8]), 64
    u = (np.stack(np.meshgrid(np.arange(across), np.arange(across), indexing="ij"), -1).reshape(-1, 2) + 0.5) / across
    where = np.column_stack([np.zeros((across**2, 3)), 1 - u[:, 0] ** 2, u[:, 1]])
    share = 2 * u[:, :1] / across**2  # of the even numbers: the cosine is u itself
    rays = Traced([meter], where)
    radiance = 1.7 + rays.directions.numpy() @ b[:, None]
    normal = meter.normal.numpy()
    measured = (rays.weights.numpy() * radiance * share).sum()
    assert measured == pytest.approx(1.7 * np.pi + 2 * np.pi / 3 * b @ normal, rel=1e-3)

    def function() -> Loss:
        return weighted(Traced([meter], where).weights, radiance * share)

    (gradient,) = tape_gradients(function, [meter.normal])
    assert np.allclose(gradient, 2 * np.pi / 3 * (b - normal * (normal @ b)), atol=2e-3)


def test_the_position_of_an_irradiance_meter_has_the_gradient_of_its_rays(backend):
    meter, weights = camera("irradiance_meter"), np.random.default_rng(7).normal(size=(9, 3))
    (gradient,) = tape_gradients(lambda: weighted(Traced([meter], places(1, 9)).origins, weights), [meter.position])
    assert np.allclose(gradient, weights.sum(0), atol=1e-5)


def test_a_radiance_meter_is_one_ray_whatever_the_film(f64):
    meter = camera("radiance_meter")
    rays = Traced([meter], places(1, 20))
    way = meter.target.numpy() - meter.position.numpy()
    assert np.allclose(rays.origins.numpy(), meter.position.numpy())
    assert np.allclose(rays.directions.numpy(), way / np.linalg.norm(way))
    assert np.allclose(rays.weights.numpy(), 1)
    assert np.allclose(rays.cosines.numpy(), 1)


def test_a_batch_mixes_all_kinds(f64):
    kinds = ("perspective", "orthographic", "lens", "radiance_meter", "irradiance_meter")
    cameras = [camera(kind) for kind in kinds]
    where = places(5, 3)
    together = Traced(cameras, where)
    for view, each in enumerate(cameras):
        chosen = where[:, 0] == view
        alone = Traced([each], where[chosen] * [0, 1, 1, 1, 1])
        for name in ("origins", "directions", "cosines", "weights"):
            assert np.allclose(getattr(together, name).numpy()[chosen], getattr(alone, name).numpy(), atol=1e-14)


def test_the_gradient_is_spread_over_copies_on_a_gpu(vulkan):
    sensors = Sensors([camera("perspective")], *SIZE)
    assert sensors.copies > runtime.current().threads
    assert sensors.part().ndarray.shape == (sensors.copies * kernels.COLUMNS,)
