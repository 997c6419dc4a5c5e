"""The BVH: closest and any hit against brute force, watertight meshes, refits, and triangles that are none."""

import numpy as np
import pytest
import taichi as ti

import tidr
from tidr.array import Array
from tidr.errors import SceneError
from tidr.kernels import bvh as device
from tidr.kernels.accumulate import load3
from tidr.renderers.bvh import CHECK_EVERY, Bvh
from tidr.renderers.bvh_build import build

from .conftest import start
from .reference.bvh import brute_force

A1, A2 = ti.types.ndarray(ndim=1), ti.types.ndarray(ndim=2)
RAYS = 100_000
CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
CUBE_FACES = np.array([
    [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4],
    [1, 5, 7], [1, 7, 3],
])  # fmt: skip


@ti.kernel
def shoot(rays: ti.i32, o: A2, d: A2, t_max: A2, out: A2, nodes: A1, leaves: A1):
    for i in range(rays):
        triangle, t, u, v = device.closest_hit(load3(o, i), load3(d, i), t_max[i, 0], nodes, leaves)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = ti.cast(triangle, float), t, u, v
        out[i, 4] = ti.cast(device.any_hit(load3(o, i), load3(d, i), t_max[i, 0], nodes, leaves), float)


@ti.kernel
def step_off(rays: ti.i32, x: A2, ng: A2, d: A2, out: A2):
    for i in range(rays):
        moved = device.offset_origin(load3(x, i), load3(ng, i), load3(d, i))
        for k in ti.static(range(3)):
            out[i, k] = moved[k]


@pytest.fixture(params=["cpu-f32", "cpu-f64"])
def backend(request):
    return start("cpu", int(request.param[-2:]))


def real(backend):
    return np.float64 if backend.precision == 64 else np.float32


def upload(array, backend) -> Array:
    """A copy that may hold what is not finite."""
    made = Array(np.shape(array), needs_grad=False)
    made.value.from_numpy(np.array(array, real(backend), order="C"))
    return made


def fitted(vertices, faces, backend) -> Bvh:
    bvh, positions = Bvh(faces), upload(vertices, backend)
    bvh.update(positions.value)
    return bvh


def trace(bvh, o, d, backend, t_max=1e30):
    """(triangle, t, u, v, any) [R] each."""
    t_max = np.broadcast_to(np.reshape(t_max, (-1, 1)), (len(o), 1))
    arrays = [upload(array, backend) for array in (o, d, t_max, np.zeros((len(o), 5)))]
    shoot(len(o), *(array.value for array in arrays), bvh.nodes, bvh.leaves)
    triangle, t, u, v, hit = arrays[-1].numpy().T
    return triangle.astype(int), t, u, v, hit.astype(int)


def random_rays(rng, count, size=1.5):
    """From in and around the box of half-edge `size`, of lengths between 0.01 and 100."""
    d = rng.normal(size=(count, 3)) * 10 ** rng.uniform(-2, 2, (count, 1))
    return rng.uniform(-size, size, (count, 3)), d


def scene(name, rng):
    if name == "soup":
        middle, size = rng.uniform(-1, 1, (60, 1, 3)), 10 ** rng.uniform(-1.5, 0, (60, 1, 1))
        return (middle + size * rng.normal(size=(60, 3, 3))).reshape(-1, 3), np.arange(180).reshape(-1, 3)
    if name == "slivers":
        middle, way = rng.uniform(-1, 1, (40, 1, 3)), rng.normal(size=(40, 1, 3))
        along = np.array([-1.0, 1.0, 0.2]).reshape(1, 3, 1)
        return (middle + along * way + 0.03 * rng.normal(size=(40, 3, 3))).reshape(-1, 3), np.arange(120).reshape(-1, 3)
    vertices, faces = tidr.icosphere(1)
    return vertices * rng.uniform(0.6, 1.2, (len(vertices), 1)), faces


def assert_equals_brute_force(vertices, faces, o, d, t_max, backend, doubts=0.02):
    kind = real(backend)
    vertices, o, d, t_max = (np.asarray(array, kind) for array in (vertices, o, d, t_max))
    expected = brute_force(vertices[faces], o, d, t_max, (eps := np.finfo(real(backend)).eps))
    triangle, t, u, v, hit = trace(fitted(vertices, faces, backend), o, d, backend, t_max)
    sure = ~expected.doubtful
    assert sure.mean() > 1 - doubts
    assert (triangle == expected.triangle)[sure].all()
    assert (hit == (expected.triangle >= 0))[sure].all()
    found = triangle >= 0
    assert 0.05 < found.mean() < 1
    assert (t[found] > 0).all()
    assert (t < t_max)[found].all()
    assert np.minimum(u, v).min() >= 0
    assert (u + v <= 1 + eps).all()
    both = found & sure
    corner = vertices[faces[triangle[both]]].astype(np.float64)
    weights = np.stack([1 - u[both] - v[both], u[both], v[both]], 1)
    distance = np.abs((weights[:, :, None] * corner).sum(1) - o[both] - t[both, None] * d[both].astype(np.float64))
    assert np.quantile(distance.max(1), 0.999) < 2e3 * eps
    np.testing.assert_allclose(t[both], expected.t[both], rtol=3e4 * eps, atol=1e3 * eps)


@pytest.mark.row(125)
@pytest.mark.row(171)
@pytest.mark.parametrize("name", ["soup", "slivers", "mesh"])
def test_closest_and_any_hit_are_those_of_brute_force(backend, name):
    rng = np.random.default_rng(5)
    vertices, faces = scene(name, rng)
    o, d = random_rays(rng, RAYS)
    t_max = np.where(rng.random(RAYS) < 0.5, 1e30, 2 * rng.random(RAYS) / np.linalg.norm(d, axis=1))
    assert_equals_brute_force(vertices, faces, o, d, t_max, backend)


def test_a_mesh_of_many_levels(backend):
    rng = np.random.default_rng(6)
    vertices, faces = tidr.icosphere(3)
    vertices = vertices * (1 + 0.2 * np.sin(9 * vertices[:, :1]))
    o, d = random_rays(rng, 2000)
    assert_equals_brute_force(vertices, faces, o, d, np.full(2000, 1e30), backend, doubts=0.05)


@pytest.mark.parametrize("count", [1, 2, 4, 5, 16, 17])
def test_few_triangles(f64, count):
    rng = np.random.default_rng(count)
    o, d = random_rays(rng, 3000)
    corners = rng.normal(size=(count, 3, 3))
    d = corners.mean(1)[rng.integers(0, count, 3000)] - o + 0.3 * d / np.linalg.norm(d, axis=1)[:, None]
    faces = np.arange(3 * count).reshape(-1, 3)
    assert_equals_brute_force(corners.reshape(-1, 3), faces, o, d, np.full(3000, 9.0), f64)


def test_hits_lie_before_t_max(backend):
    rng = np.random.default_rng(1)
    vertices, faces = tidr.icosphere(2)
    bvh = fitted(vertices, faces, backend)
    o, d = random_rays(rng, 1000, 0.4)
    _, t, *_ = trace(bvh, o, d, backend)
    triangle, *_, hit = trace(bvh, o, d, backend, t)
    assert not (hit | (triangle >= 0)).any()
    triangle, _, _, _, hit = trace(bvh, o, d, backend, np.nextafter(t, np.inf, dtype=real(backend)))
    assert (triangle >= 0).all()
    assert (hit == 1).all()


@pytest.mark.parametrize(("scale", "away"), [(1.0, 0.0), (1e-3, 0.0), (1e4, 0.0), (1.0, 30.0), (1e-3, 0.05)])
def test_no_ray_slips_through_edges_and_corners(backend, scale, away):
    """The rays go to the mesh's corners, to middles of edges and to other points of edges, from inside."""
    rng = np.random.default_rng(2)
    sphere, faces = tidr.icosphere(3)
    vertices = np.asarray(scale * sphere + away * np.array([1.0, -0.7, 0.4]), real(backend))
    edges = vertices[np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]])].astype(np.float64)
    along = rng.random((len(edges), 1))
    targets = np.concatenate([vertices, edges.mean(1), edges[:, 0] * along + edges[:, 1] * (1 - along)])
    targets = np.repeat(targets, 6, 0)
    centre = vertices.mean(0)
    o = np.asarray(centre + rng.uniform(-0.5, 0.5, targets.shape) * scale, real(backend))
    o[::3] = centre
    d = np.asarray(targets - o, real(backend))
    triangle, t, _, _, hit = trace(fitted(vertices, faces, backend), o, d, backend)
    assert (triangle >= 0).all()
    assert (hit == 1).all()
    assert np.abs(t - 1).max() < 0.02


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_rays_along_the_axes(backend, zero):
    """A cube, whose boxes are flat and whose edges the rays meet; from the middle, from its planes and from outside."""
    bvh = fitted(CUBE, CUBE_FACES, backend)
    grid = np.array([[x, y] for x in (-1, -0.5, 0, 0.5, 1) for y in (-1, -0.5, 0, 0.5, 1)])
    for axis in range(3):
        for sign in (-1.0, 1.0):
            d = np.full((len(grid), 3), zero)
            d[:, axis] = sign
            for first, distance in ((-5 * sign, 4.0), (0.0, 1.0)):
                o = np.insert(grid, axis, first, 1)
                inside = np.abs(grid).max(1) < 1
                triangle, t, *_ = trace(bvh, o, d, backend)
                assert (triangle[inside] >= 0).all()
                np.testing.assert_allclose(t[triangle >= 0], distance, rtol=4 * np.finfo(real(backend)).eps)
                beside, *_ = trace(bvh, o * 1.5, d, backend)
                assert (beside[np.abs(1.5 * grid).max(1) > 1] == -1).all()
    d = np.zeros((len(grid), 3))
    assert (trace(bvh, np.insert(grid, 1, 0.0, 1), d, backend)[0] == -1).all()


def test_rays_that_are_not_finite_hit_nothing(backend):
    bvh = fitted(CUBE, CUBE_FACES, backend)
    o, d = np.zeros((12, 3)), np.tile([0.3, 0.2, 1.0], (12, 1))
    for k in range(3):
        o[k, k], d[3 + k, k], o[6 + k, k], d[9 + k, k] = np.nan, np.nan, np.inf, -np.inf
    triangle, *_, hit = trace(bvh, o, d, backend)
    assert not (hit | (triangle >= 0)).any()


@pytest.mark.parametrize(
    ("scale", "away"), [(1e-3, 0.0), (1.0, 0.0), (1e4, 0.0), (1.0, 50.0), (1e-3, 0.02), (1e4, 3e5)]
)
def test_a_ray_that_leaves_a_surface_does_not_meet_it_again(backend, scale, away):
    """Outwards from a ball it meets nothing; inwards it meets another triangle."""
    rng = np.random.default_rng(3)
    kind = real(backend)
    sphere, faces = tidr.icosphere(2)
    vertices = np.asarray(scale * sphere + away * np.array([0.9, -1.0, 0.6]), kind)
    own = rng.integers(0, len(faces), 20_000)
    corners = vertices[faces[own]]
    weights = np.asarray(rng.dirichlet([0.5] * 3, len(own)), kind)
    x = (weights[:, :, None] * corners).sum(1, dtype=kind)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal = cross / np.linalg.norm(cross, axis=1, keepdims=True)
    d = rng.normal(size=x.shape)
    height = (d * normal).sum(1, keepdims=True)
    d = d + np.where(height >= 0, 1, -1) * 0.05 * normal
    height = (d * normal).sum(1)
    bvh = fitted(vertices, faces, backend)
    arrays = [upload(array, backend) for array in (x, cross, d, x)]
    step_off(len(x), *(array.value for array in arrays))
    moved = arrays[-1].numpy()
    # a ray from near an edge may meet a neighbour, whose normal is some 20 degrees away, or come to lie behind it
    side = (sphere[faces[own]].mean(1) * d).sum(1) / np.linalg.norm(d, axis=1)
    out, inwards = (height > 0) & (side > 0.5), (height < 0) & (side < -0.5)
    assert out.sum() > 4000
    assert inwards.sum() > 4000
    triangle, t, *_ = trace(bvh, moved, d, backend)
    assert (triangle[out] == -1).all()
    assert (triangle[inwards] >= 0).all()
    assert (triangle[inwards] != own[inwards]).all()
    travelled = t[inwards] * np.linalg.norm(d[inwards], axis=1)
    assert travelled.min() > 0.1 * scale


def test_a_thin_gap_stays_open(backend):
    """Two plates a ten thousandth of their distance from the origin apart see each other."""
    rng = np.random.default_rng(4)
    plate = np.array([[-1, 0, -1], [-1, 0, 1], [1, 0, 0.0]])
    for size, place in ((1.0, (1.0, 1.0, 1.0)), (1e-3, (0.0, 1.0, 0.5)), (1e3, (0.0, 1e3, 0.0))):
        place = np.array(place)
        gap = 1e-4 * np.abs(place).max()
        vertices = np.concatenate([size * plate + place, size * plate + place + [0, gap, 0]])
        bvh = fitted(vertices, np.array([[0, 1, 2], [3, 4, 5]]), backend)
        weights = rng.dirichlet([2.0] * 3, 1000)
        x = weights @ vertices[:3]
        d = np.tile([0.1, 1.0, -0.1], (1000, 1))
        arrays = [upload(array, backend) for array in (x, np.tile([0, 2.0, 0], (1000, 1)), d, x)]
        step_off(1000, *(array.value for array in arrays))
        triangle, t, *_ = trace(bvh, arrays[-1].numpy(), d, backend)
        inner = weights.min(1) * size > gap
        assert inner.any()
        assert (triangle[inner] == 1).all()
        np.testing.assert_allclose(t[inner], gap, rtol=0.1)


def test_a_refit_answers_as_a_rebuild_does(backend):
    rng = np.random.default_rng(7)
    vertices, faces = tidr.icosphere(3)
    bvh = fitted(vertices, faces, backend)
    o, d = random_rays(rng, 20_000)
    for turn in range(3):
        vertices = vertices @ np.array([[0.8, 0.6, 0], [-0.6, 0.8, 0], [0, 0, 1.1]])
        vertices = vertices + 0.05 * rng.normal(size=vertices.shape)
        positions = upload(vertices, backend)
        bvh.update(positions.value)
        refitted, rebuilt = trace(bvh, o, d, backend), trace(fitted(vertices, faces, backend), o, d, backend)
        same = refitted[0] == rebuilt[0]
        assert same.mean() > 0.9999, turn
        assert (refitted[4] == rebuilt[4]).all()
        for before, after in zip(refitted[1:4], rebuilt[1:4], strict=True):
            assert (before == after)[same].all()
        np.testing.assert_allclose(refitted[1][~same], rebuilt[1][~same], rtol=1e-4)


def test_a_tree_that_refits_have_spoilt_is_built_anew(f32):
    rng = np.random.default_rng(8)
    vertices, faces = tidr.icosphere(3)
    bvh, first = Bvh(faces), upload(vertices, f32)
    bvh.update(first.value)
    tree = bvh.nodes
    for turn in range(2 * CHECK_EVERY):
        moved = upload(vertices * (1 + 0.01 * np.sin(turn)), f32)
        bvh.update(moved.value)
    assert bvh.nodes is tree, "small moves are no reason"
    shuffled = rng.permutation(vertices)
    positions = upload(shuffled, f32)
    for _ in range(CHECK_EVERY):
        bvh.update(positions.value)
    assert bvh.nodes is not tree
    fresh = Bvh(faces)
    fresh.update(positions.value)
    o, d = random_rays(rng, 2000)
    assert (trace(bvh, o, d, f32)[1] == trace(fresh, o, d, f32)[1]).all()


def test_no_triangles(backend):
    bvh, positions = Bvh(np.zeros((0, 3), int)), Array((0, 3))
    for _ in range(2 * CHECK_EVERY):
        bvh.update(positions.value)
    triangle, *_, hit = trace(bvh, *random_rays(np.random.default_rng(0), 100), backend)
    assert not (hit | (triangle >= 0)).any()


def test_triangles_without_area_and_with_corners_that_are_no_numbers(backend):
    """The others are hit as if those were not there, and they come back once they are triangles again."""
    rng = np.random.default_rng(9)
    good = rng.normal(size=(40, 3, 3))
    corners = np.tile(good, (4, 1, 1))
    corners[40:80, 1] = corners[40:80, 0]
    corners[80:120, 2] = 0.3 * corners[80:120, 0] + 0.7 * corners[80:120, 1]
    corners[120:, 0] = np.array([np.nan, np.inf, -np.inf, 1e30])[np.arange(40) % 4, None]
    corners[120:140, :, 1] = np.nan
    faces, order = np.arange(480).reshape(-1, 3), rng.permutation(160)
    bvh = fitted(corners.reshape(-1, 3), faces[order], backend)
    o, d = random_rays(rng, 20_000)
    triangle, t, *_, hit = trace(bvh, o, d, backend)
    alone = trace(fitted(good.reshape(-1, 3), np.arange(120).reshape(-1, 3), backend), o, d, backend)
    original = np.where(triangle >= 0, order[triangle], -1)
    assert (original == alone[0]).mean() > 0.999
    assert (original < 40).mean() > 0.999
    assert (hit == alone[4]).mean() > 0.999
    np.testing.assert_array_equal(t[original == alone[0]], alone[1][original == alone[0]])
    whole = upload(np.tile(good, (4, 1, 1)).reshape(-1, 3), backend)
    bvh.update(whole.value)
    assert (trace(bvh, o, d, backend)[1] == alone[1]).all()
    nothing = upload(np.full((480, 3), np.nan), backend)
    bvh.update(nothing.value)
    assert (trace(bvh, o, d, backend)[0] == -1).all()
    assert (trace(fitted(np.full((480, 3), np.nan), faces, backend), o, d, backend)[0] == -1).all()


def test_all_triangles_at_one_place(backend):
    one = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    faces = np.arange(9000).reshape(-1, 3)
    o, d = np.array([[0.2, 0.3, 1.0], [0.9, 0.9, 1.0]]), np.array([[0, 0, -1.0], [0, 0, -1.0]])
    triangle, t, *_, hit = trace(fitted(np.tile(one, (3000, 1)), faces, backend), o, d, backend)
    assert triangle[0] >= 0
    assert triangle[1] == -1
    assert t[0] == 1
    assert hit.tolist() == [1, 0]
    assert (trace(fitted(np.ones((9000, 3)), faces, backend), o, np.ones((2, 3)) - o, backend)[0] == -1).all()


@pytest.mark.parametrize("name", ["nested", "line", "one place", "sphere"])
def test_trees_are_no_deeper_than_the_stack(name):
    """Each triangle lies in one leaf; even where every best plane parts a single triangle from the rest."""
    rng = np.random.default_rng(10)
    small = rng.normal(size=(700, 3, 3))
    corners = {
        "nested": small * 4.0 ** -np.arange(700)[:, None, None].clip(0, 100),
        "line": 0.01 * small + 1.2 ** np.arange(700)[:, None, None].clip(0, 180),
        "one place": np.zeros((20_000, 3, 3)),
        "sphere": tidr.icosphere(5)[0][tidr.icosphere(5)[1]],
    }[name]
    tree = build(corners)
    assert sorted(tree.leaves[tree.leaves >= 0]) == list(range(len(corners)))
    assert len(tree.levels) <= device.LEVELS
    assert device.STACK > (device.WIDTH - 1) * device.LEVELS
    assert [first for first, _ in tree.levels[1:]] == [end for _, end in tree.levels[:-1]]
    units = np.arange(len(tree.children)) * device.NODE_UNITS
    leaves = len(units) * device.NODE_UNITS + np.arange(len(tree.leaves) // device.WIDTH) * device.LEAF_UNITS
    assert sorted(tree.children[tree.children > 0]) == list(units[1:])
    assert sorted(-tree.children[tree.children < 0]) == list(leaves)


def answers_to_soup(backend):
    vertices, faces = scene("soup", rng := np.random.default_rng(11))
    return trace(fitted(vertices, faces, backend), *random_rays(rng, 5000), backend)


@pytest.fixture
def on_cpu(f64):
    return answers_to_soup(f64)


@pytest.mark.row(125)
def test_vulkan_answers_as_the_cpu_does(on_cpu, vulkan):
    answers = answers_to_soup(vulkan), on_cpu
    same = answers[0][0] == answers[1][0]
    assert same.mean() > 0.999
    assert (answers[0][4] == answers[1][4]).mean() > 0.999
    for one, other in zip(answers[0][1:4], answers[1][1:4], strict=True):
        np.testing.assert_allclose(one[same], other[same], rtol=1e-3, atol=1e-4)


def test_vertices_that_are_not_there_are_refused(f32):
    with pytest.raises(SceneError, match="names vertex 8, but there are 8 vertices"):
        fitted(CUBE, np.array([[0, 1, 8]]), f32)
    with pytest.raises(SceneError, match="negative"):
        Bvh(np.array([[0, 1, -2]]))
    with pytest.raises(SceneError, match="expected"):
        Bvh(np.zeros((2, 4), int))
