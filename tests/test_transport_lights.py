"""Samplers of light transport's lights against what they say of themselves: pdfs, alias table, choice of a light."""

import numpy as np
import pytest

import tidr
from tidr.kernels.transport import lights as kernels
from tidr.kernels.transport import sky

from .chi_square import cell_counts
from .light_checks import Rig, assert_even, assert_falls_as, everywhere, over_sphere, unit
from .light_scenes import KINDS, everything, only, scene_of, sky_light, sun, triangles, uniform


@pytest.mark.row(146)
@pytest.mark.parametrize("seed", [0, 1])
def test_directions_from_far_away_fall_as_their_pdf_says(backend, seed):
    rig = Rig(scene_of(sky=sky_light(seed), low=sun(seed, 1.0), high=sun(seed + 5, 0.6), parallel=sun(seed + 7, 0.0)))
    found = rig.sample(np.zeros((1, 3)), uniform(60_000, 3, seed))
    d = found.d[found.delta == 0]
    np.testing.assert_allclose(np.linalg.norm(d, axis=1), 1, rtol=1e-5)
    expected = over_sphere(rig.far(everywhere())[1]) * len(found.rows)
    counts = np.append(cell_counts(d), (found.delta == 1).sum())
    parallel = rig.sample(np.zeros((1, 3)), np.column_stack([rig.centers(np.array([0, 1, 2])), np.zeros((3, 2))]))
    expected = np.append(expected, (parallel.chance * parallel.delta).sum() * len(found.rows))
    assert_falls_as(counts, expected)


def solid_angle(corners: np.ndarray) -> np.ndarray:
    """[n] of triangles [n, 3, 3] seen from the origin, above 0 from their front (van Oosterom and Strackee 1983)."""
    a, b, c = unit(corners).swapaxes(0, 1)
    volume = (a * np.cross(b, c)).sum(1)
    return -2 * np.arctan2(volume, 1 + (a * b).sum(1) + (b * c).sum(1) + (c * a).sum(1))


@pytest.mark.row(143)
def test_points_on_triangles_fall_evenly_and_the_pdf_is_over_solid_angle(backend):
    """In 16 small triangles for each large one: as many samples as area says, and 1 / pdf adds up to solid angle."""
    (vertices, faces), n, x = triangles(11, 6), 60_000, np.array([0.1, -0.2, 0.15])
    rig = Rig(scene_of([(vertices, faces)]))
    found = rig.sample(x[None], uniform(n, 3, 1))
    b, entry = np.stack([found.b1, found.b2], 1), found.entry.astype(int)
    whole = np.minimum((4 * b).astype(int), 3)
    upper = (4 * b - whole).sum(1) > 1
    names = {}
    small = []
    for i in range(4):
        for k in range(4 - i):
            for flip in (False, True)[: 2 if i + k < 3 else 1]:
                names[i, k, flip] = len(names)
                at = (
                    np.array([[i + 1, k + 1], [i, k + 1], [i + 1, k]] if flip else [[i, k], [i + 1, k], [i, k + 1]]) / 4
                )
                small.append(np.column_stack([1 - at.sum(1), at]))
    part = np.array([names[i, k, flip] for (i, k), flip in zip(whole.tolist(), upper.tolist(), strict=True)])
    cell = entry * 16 + part
    chances = np.diff(rig.lights.cdf.ndarray.to_numpy().astype(np.float64)[:7])
    assert_falls_as(np.bincount(cell, minlength=96), np.repeat(chances, 16) * n / 16)
    corners = (np.array(small) @ vertices[faces][:, None] - x).reshape(96, 3, 3)
    seen = solid_angle(corners)
    np.testing.assert_array_equal(found.pdf > 0, seen[cell] > 0)
    assert 0 < (seen > 0).sum() < 96
    worth = np.divide(1, found.pdf, where=found.pdf > 0, out=np.zeros(n))
    count, total, square = (np.bincount(cell, worth**power, 96) for power in (0, 1, 2))
    share = np.repeat(chances, 16) / 16
    error = share * np.sqrt(np.maximum(square / count - (total / count) ** 2, 0) / count)
    assert (np.abs(share * total / count - np.maximum(seen, 0)) <= 4 * error + 1e-6).all()
    assert error.max() < 2e-2 * seen.max()


def test_pdf_of_what_is_met_is_that_of_the_sample(backend):
    rtol = 1e-9 if backend.precision == 64 else 2e-3
    rig, x = Rig(everything()), np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3))
    found = rig.sample(x, uniform(4000, 3, 2))
    hit = (found.kind == kernels.TRIANGLE) & (found.pdf > 0)
    again = rig.hit_pdf(found.entry[hit], found.d[hit], found.distance[hit])
    np.testing.assert_allclose(again, found.pdf[hit], rtol=rtol)
    assert (found.value[hit] == 1).all()
    far = found.distance > 1e29
    assert (far == (found.kind >= kernels.DIRECTIONAL)).all()
    radiance, together = rig.far(found.d)
    alone = (found.kind == kernels.ENVIRONMENT) & (rig.far(found.d, suns=0)[1] == together)
    inside = np.abs(together - found.pdf) <= rtol * together
    assert inside[alone].mean() > (0.999 if backend.precision == 64 else 0.99)  # cells' borders are rounded
    np.testing.assert_allclose(found.value[alone], radiance[alone], rtol=max(rtol, 1e-6), atol=1e-6)
    disc_of_sun = (found.kind == kernels.DIRECTIONAL) & (found.delta == 0)
    assert disc_of_sun.sum() > 100
    assert (together[disc_of_sun] >= found.pdf[disc_of_sun] * (1 - rtol)).all()
    assert (radiance[disc_of_sun] >= found.value[disc_of_sun] * (1 - rtol)).all()


@pytest.mark.row(146)
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (2, 1), (1, 9), (33, 64)])
def test_alias_table_sums_to_one_and_is_what_the_pdf_says(backend, shape):
    light = sky_light(2, shape) if min(shape) > 2 else tidr.EnvironmentLight(np.full((*shape, 3), 0.5))
    rig, (height, width) = Rig(scene_of(light=light)), shape
    table = rig.lights.alias.ndarray.to_numpy().astype(np.float64)[: 3 * (height + 1) * (width + 1)].reshape(-1, 3)

    def chances(items: np.ndarray) -> np.ndarray:
        kept, alias = items[:, 0], items[:, 1].astype(int)
        assert (kept >= 0).all()
        assert (kept <= 1).all()
        return (kept + np.bincount(alias, 1 - kept, len(items))) / len(items)

    rows = chances(table[: height + 1])
    within = [chances(line) for line in table[height + 1 :].reshape(height + 1, width, 3)]
    ends = np.clip(np.arange(-0.5, height + 1), 0, height) / height
    solid = -np.diff(np.cos(np.pi * ends))[:, None] * 2 * np.pi / width
    density = table[height + 1 :, 2].reshape(height + 1, width)
    tolerance = 1e-12 if backend.precision == 64 else 2e-5
    assert density.min() > 0
    assert np.abs((density * solid).sum() - 1) < tolerance
    np.testing.assert_allclose(rows[:, None] * within, density * solid, atol=tolerance)
    d = unit(np.random.default_rng(1).normal(size=(20_000, 3)))
    assert abs(rig.far(d)[1].mean() * 4 * np.pi - 1) < 4 * rig.far(d)[1].std() * 4 * np.pi / np.sqrt(len(d)) + 1e-5


def test_radiance_without_density_does_not_exist(f64):
    light = sky_light(4, (6, 9))
    rig = Rig(scene_of(light=light))
    radiance, pdf = rig.far(unit(np.random.default_rng(0).normal(size=(20_000, 3))))
    mean = radiance.mean(0) @ (0.2126, 0.7152, 0.0722)
    assert pdf.min() >= sky.FLOOR / (1 + sky.FLOOR) / (4 * np.pi) * (1 - 1e-9)
    # In a cell the luminance is at most four times the mean of its corners.
    assert (radiance @ (0.2126, 0.7152, 0.0722) <= 4.4 * mean * 4 * np.pi * pdf).all()


def turned(axis: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine to an axis, and angle around it."""
    side = unit(np.cross(axis, [0.31, 0.2, -0.9]))
    return d @ axis, np.arctan2(d @ np.cross(axis, side), d @ side) / (2 * np.pi) % 1


@pytest.mark.parametrize("kind", KINDS)
def test_photons_start_evenly(backend, kind):
    scene = only(kind)
    rig = Rig(scene)
    photons = rig.emit(uniform(30_000, 5, 3))
    d, at = photons.direction, photons.position
    np.testing.assert_allclose(np.linalg.norm(d, axis=1), 1, rtol=1e-5)
    if kind == "triangles":
        corners = (
            scene["lamp0"].vertices.numpy()[scene["lamp0"].geometry.faces].astype(np.float64)[photons.entry.astype(int)]
        )
        e1, e2, away = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], at - corners[:, 0]
        normal = np.cross(e1, e2)
        double = np.linalg.norm(normal, axis=1)
        b = [(np.cross(*pair) * normal).sum(1) / double**2 for pair in ((away, e2), (e1, away))]
        root = np.maximum(1 - b[0], 1e-9)
        side = unit(e1)
        normal /= double[:, None]
        cosine = (d * normal).sum(1)
        turn = np.arctan2((d * np.cross(normal, side)).sum(1), (d * side).sum(1)) / (2 * np.pi) % 1
        assert_even(root**2, b[1] / root, cosine**2, turn)
        np.testing.assert_allclose(photons.weight, (np.pi * 0.5 * double / photons.chance)[:, None].repeat(3, 1), 1e-4)
        return
    light = scene.lights["light"]
    if kind in ("point", "spot"):
        axis = np.array([0.1, 0.9, 0.3]) / np.linalg.norm([0.1, 0.9, 0.3])
        if kind == "spot":
            axis = light.direction.numpy().astype(np.float64)
        cosine, turn = turned(axis, d)
        least = np.cos(0.6) if kind == "spot" else -1.0
        assert_even((1 - cosine) / (1 - least), turn)
        np.testing.assert_allclose(at, np.broadcast_to(light.position.numpy(), at.shape), atol=1e-6)
        return
    tail = rig.lights.cdf.ndarray.to_numpy()[-4:].astype(np.float64)
    place = (at - tail[:3]) / tail[3]
    np.testing.assert_allclose((place * d).sum(1), -1, atol=1e-4)
    across = place - (place * d).sum(1)[:, None] * d
    side = unit(np.cross(d, [0.31, 0.2, -0.9]))
    turn = np.arctan2((across * np.cross(d, side)).sum(1), (across * side).sum(1)) / (2 * np.pi) % 1
    square = (across**2).sum(1)
    if kind == "parallel":
        assert_even(square, turn)
    elif kind == "sun":
        cosine, around = turned(light.direction.numpy().astype(np.float64), d)
        assert_even(square, turn, (1 - cosine) / (1 - np.cos(0.45)), around)
    else:
        assert_falls_as(cell_counts(-d), over_sphere(rig.far(everywhere())[1]) * len(d))
        assert_even(square, turn)


@pytest.mark.parametrize("kind", ["triangles", "point", "spot", "sun"])
def test_kinds_that_a_scene_has_not_change_nothing(f64, kind):
    rig, u, x = Rig(only(kind)), uniform(500, 5, 6), np.random.default_rng(0).uniform(-0.3, 0.3, (500, 3))
    rows = np.ascontiguousarray(u[:, :3])
    more = rig.sample(x, rows).rows, rig.emit(u).rows
    assert rig.kinds != rig.lights.kinds
    rig.kinds = rig.lights.kinds
    np.testing.assert_allclose(rig.sample(x, rows).rows, more[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(rig.emit(u).rows, more[1], rtol=1e-10, atol=1e-12)


def test_lights_are_chosen_by_power(backend):
    scene = everything()
    rig = Rig(scene)
    cdf = rig.lights.cdf.ndarray.to_numpy().astype(np.float64)
    count, radius = rig.lights.count, cdf[-1]
    corners = scene["lamp0"].vertices.numpy()[scene["lamp0"].geometry.faces].astype(np.float64)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    luminance = np.array([0.2126, 0.7152, 0.0722])
    power = list(0.5 * np.linalg.norm(cross, axis=1) * np.pi * ([1.0, 0.5, 2.0] @ luminance))
    power.append(4 * np.pi * np.array([2, 3, 1]) @ luminance)
    for name, cutoff, falloff in (("wide", 0.7, 0.4), ("narrow", 0.3, 0.05)):
        share = 2 * np.pi * (1 - 0.5 * (np.cos(cutoff) + np.cos(cutoff - falloff)))
        power.append(share * scene.lights[name].intensity.numpy() @ luminance)
    for name in ("parallel", "sun", "wide_sun"):
        power.append(np.pi * radius**2 * scene.lights[name].irradiance.numpy() @ luminance)
    sky_luminance = over_sphere(rig.far(everywhere(), suns=0)[0] @ luminance).sum()
    whole = rig.lights.alias.ndarray.to_numpy()[-1]  # by the means of the cells' corners
    assert whole == pytest.approx(sky_luminance, rel=2e-2)
    power.append(np.pi * radius**2 * whole)
    expected = 0.9 * np.array(power) / sum(power) + 0.1 / count
    np.testing.assert_allclose(np.diff(cdf[: count + 1]), expected, rtol=2e-3)
    reach = np.linalg.norm(scene["frame"].vertices.numpy() - cdf[count + 1 : count + 4], axis=1)
    assert reach.max() <= radius
    entries = rig.sample(np.zeros((1, 3)), uniform(40_000, 3, 5)).entry.astype(int)
    assert_falls_as(np.bincount(entries, minlength=count), 40_000 * np.diff(cdf[: count + 1]))


def test_many_triangles_share_the_choice(backend):
    vertices, faces = triangles(1, 3000)
    rig = Rig(scene_of([(vertices, faces)], bulb=tidr.PointLight((0, 3, 0), 1.0)))
    cdf = rig.lights.cdf.ndarray.to_numpy().astype(np.float64)[:3002]
    assert cdf[0] == 0
    assert cdf[-1] == 1
    assert (np.diff(cdf) > 0).all()
    assert (rig.lights.emitting == np.arange(2, 3002)).all()
