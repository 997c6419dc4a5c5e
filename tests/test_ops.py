"""The four primitives on plain arrays: rasterize, peel, interpolate and antialias against brute force."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError

from .gradients import directional_check, tape_gradients, weighted
from .ops_reference import FACES, agree, clip_space, mixed, rasterized

HEIGHT, WIDTH = 11, 14
SIZE = (HEIGHT, WIDTH)


@pytest.fixture(scope="module")
def brute() -> list[tuple[np.ndarray, np.ndarray]]:
    return [rasterized(clip_space(seed), FACES, HEIGHT, WIDTH) for seed in (1, 2)]


@pytest.mark.row(16)
def test_rasterize_finds_what_brute_force_finds_and_its_slopes(f64, brute):
    positions = np.stack([clip_space(1), clip_space(2)])
    rast, slopes = (made.numpy() for made in tidr.ops.rasterize(positions, FACES, SIZE))
    crossing = positions[0][FACES]
    assert ((crossing[..., 2] < -crossing[..., 3]).any(1) & (crossing[..., 2] > -crossing[..., 3]).any(1)).any()
    for image, (expected, moved) in enumerate(brute):
        assert len(np.unique(expected[..., 3])) > 3
        np.testing.assert_array_equal(rast[image, ..., 3], expected[..., 3])
        np.testing.assert_allclose(rast[image], expected, atol=1e-9)
        np.testing.assert_allclose(slopes[image], moved, rtol=1e-5, atol=1e-5)


@pytest.mark.row(16)
def test_ranges_draw_their_triangles_only(f64):
    positions, ranges = clip_space(2), [(0, 3), (2, 6), (5, 0)]
    rast, slopes = (made.numpy() for made in tidr.ops.rasterize(positions, FACES, SIZE, ranges))
    for image, (first, count) in enumerate(ranges):
        expected, moved = rasterized(positions, FACES[first : first + count], HEIGHT, WIDTH)
        expected[..., 3] += first * (expected[..., 3] > 0)
        np.testing.assert_allclose(rast[image], expected, atol=1e-9)
        np.testing.assert_allclose(slopes[image], moved, rtol=1e-5, atol=1e-5)


@pytest.mark.row(16)
def test_peeling_goes_through_all_layers_in_the_order_of_depth(f64):
    positions = clip_space(3, beyond=-0.5)
    layers = [rast.numpy()[0] for rast, _ in tidr.ops.peel(positions, FACES, SIZE)]
    assert len(layers) > 2
    for layer, rast in enumerate(layers):
        np.testing.assert_allclose(rast, rasterized(positions, FACES, HEIGHT, WIDTH, layer)[0], atol=1e-9)
    assert not rasterized(positions, FACES, HEIGHT, WIDTH, len(layers))[0].any()


@pytest.mark.row(16)
@pytest.mark.parametrize("seed", [1, 4])
def test_gradients_of_rasterize(f64, seed):
    positions = tidr.Parameter(np.stack([clip_space(seed), clip_space(seed + 1)]))
    shared, ranges = tidr.Parameter(clip_space(seed)), [(0, 5), (3, 5)]

    def drawn(positions, ranges=None):
        return mixed(*tidr.ops.rasterize(positions, FACES, SIZE, ranges), channels=2)  # u, v and slopes

    gradient = directional_check(lambda: drawn(positions), [positions], f64, seed)[0]
    assert gradient[..., [0, 1, 3]].any()
    assert not gradient[..., 2].any()
    directional_check(lambda: drawn(shared, ranges), [shared], f64, seed)


@pytest.mark.row(17)
def test_interpolate_mixes_the_corners_and_its_slopes_are_those_of_the_picture(f64, brute):
    attributes = np.random.default_rng(0).normal(size=(12, 3))
    rast, slopes = tidr.ops.rasterize(clip_space(1), FACES, SIZE)
    out, moved = tidr.ops.interpolate(attributes, rast, FACES, slopes, [2, 0])
    expected, steps = brute[0]
    face = expected[..., 3].astype(int) - 1
    corners = attributes[FACES[face]] * (face >= 0)[..., None, None]
    u, v = expected[..., :1], expected[..., 1:2]
    mean = u * corners[..., 0, :] + v * corners[..., 1, :] + (1 - u - v) * corners[..., 2, :]
    np.testing.assert_allclose(out.numpy()[0], mean, atol=1e-9)
    edges = corners[..., :2, :] - corners[..., 2:, :]
    change = np.einsum("hwka,hwkc->hwca", steps.reshape(*face.shape, 2, 2), edges)[..., [2, 0], :]
    np.testing.assert_allclose(moved.numpy()[0], change.reshape(*face.shape, 4), rtol=1e-5, atol=1e-5)
    assert tidr.ops.interpolate(attributes, rast, FACES)[1] is None


@pytest.mark.row(17)
@pytest.mark.parametrize(("shape", "chosen"), [((12, 3), [1]), ((2, 12, 2), "all"), ((12, 1), None)])
def test_gradients_of_interpolate(f64, shape, chosen):
    positions = np.stack([clip_space(1), clip_space(2)])
    rast, slopes = (tidr.Parameter(made.numpy()) for made in tidr.ops.rasterize(positions, FACES, SIZE))
    attributes = tidr.Parameter(np.random.default_rng(1).normal(size=shape))

    def function():
        made = tidr.ops.interpolate(attributes, rast, FACES, slopes, chosen)
        return mixed(*(one for one in made if one is not None))

    directional_check(function, [attributes, rast, *([slopes] if chosen else [])], f64)


def edge(x: float) -> np.ndarray:
    """[4, 4] a wall from beyond the left border to column x, at w = 2, taller than the picture."""
    right = x / WIDTH * 2 - 1
    return 2 * np.array([[-1.5, -1.5, 0, 1], [right, -1.5, 0, 1], [right, 1.5, 0, 1], [-1.5, 1.5, 0, 1]])


WALL = np.array([[0, 1, 2], [0, 2, 3]])


@pytest.mark.row(19)
@pytest.mark.parametrize("x", [5.2, 5.6, 5.9, 6.4])
def test_a_row_of_an_antialiased_edge_sums_to_its_exact_coverage(f64, x):
    positions, scale = tidr.Parameter(edge(x)), np.array([1.0, 2.0, -3.0, 0.5, 4.0])

    def picture(triangles=WALL):
        rast, _ = tidr.ops.rasterize(positions, triangles, SIZE)
        return tidr.ops.antialias((rast.numpy()[..., 3:] > 0) * scale, rast, positions, triangles)

    sums = picture().numpy().sum(axis=2)
    np.testing.assert_allclose(sums, np.broadcast_to(x * scale, sums.shape), rtol=1e-12)
    np.testing.assert_array_equal(picture(tidr.ops.Topology(WALL, 4)).numpy(), picture().numpy())
    (gradient,) = tape_gradients(lambda: weighted(picture(), 1.0), [positions])
    per_column = gradient[1:3, 0].sum() * 2 * 2 / WIDTH  # w = 2, and half the width
    np.testing.assert_allclose(per_column, HEIGHT * scale.sum(), rtol=1e-12)


@pytest.mark.row(19)
def test_gradients_of_antialias(f64):
    positions = tidr.Parameter(np.stack([clip_space(6, beyond=-0.5), clip_space(7, beyond=-0.5)]))
    rast = tidr.ops.rasterize(positions, FACES, SIZE)[0].numpy()
    color = tidr.Parameter(np.random.default_rng(2).random((2, *SIZE, 3)))
    gradients = directional_check(
        lambda: mixed(tidr.ops.antialias(color, rast, positions, FACES)), [color, positions], f64
    )
    assert gradients[1].any()
    assert not gradients[1][..., 2].any()


def bad(**changed):
    """A call of each operation, with one argument changed."""
    positions, rast = clip_space(1), np.zeros((1, *SIZE, 4))
    name, (key, value) = changed.pop("op"), next(iter(changed.items()))
    given = {
        "rasterize": {"positions": positions, "triangles": FACES, "resolution": SIZE, "ranges": None},
        "interpolate": {"attributes": np.ones((12, 2)), "rast": rast, "triangles": FACES, "diff_attrs": None},
        "antialias": {"color": np.ones((1, *SIZE, 3)), "rast": rast, "positions": positions, "triangles": FACES},
    }[name]
    return getattr(tidr.ops, name)(**(given | {key: value}))


NAN = np.full((12, 4), np.nan)
REVERSED = np.array([[0, 0, 0.5, 1], [1, 0, 0.5, 1], [0, 1, 0.5, -0.1]])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"op": "rasterize", "positions": NAN}, r"rasterize.positions: value at index \(0, 0\) is not finite"),
        ({"op": "rasterize", "positions": np.ones((12, 3))}, r"shape \[12, 3\], expected \[V, 4\] or \[N, V, 4\]"),
        ({"op": "rasterize", "positions": REVERSED, "triangles": FACES}, "the vertices are 0 to 2"),
        ({"op": "rasterize", "triangles": FACES + 1}, r"rasterize.triangles: row 6 is \[10, 11, 12\], .* 0 to 11"),
        ({"op": "rasterize", "triangles": FACES * 1.0}, "whole numbers"),
        ({"op": "rasterize", "resolution": (0, 4)}, "rasterize.resolution"),
        ({"op": "rasterize", "ranges": [(0, 9)]}, "there are 8 triangles"),
        ({"op": "interpolate", "attributes": np.ones((3, 12, 2))}, "of 3 images, rast is of 1"),
        ({"op": "interpolate", "attributes": "red"}, "interpolate.attributes: got str"),
        ({"op": "interpolate", "diff_attrs": [2]}, "channels 0 to 1"),
        ({"op": "interpolate", "diff_attrs": "all"}, "interpolate.slopes: are missing"),
        ({"op": "interpolate", "rast": np.full((1, 2, 2, 4), 9.0)}, "names triangle 9 - 1, there are 8"),
        ({"op": "antialias", "color": np.ones((1, 3, 3, 1))}, r"antialias.color: has pixels \[1, 3, 3\]"),
    ],
)
def test_bad_input_is_named(f64, changed, message):
    with pytest.raises(SceneError, match=message):
        bad(**changed)


def test_a_reversed_depth_range_is_refused(f64):
    with pytest.raises(SceneError, match="row 2 has w <= 0"):
        tidr.ops.rasterize(REVERSED, [[0, 1, 2]], SIZE)


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return pipeline()


def pipeline() -> list[np.ndarray]:
    """A picture made by three operations, slopes included, all layers, and the gradients."""
    positions = tidr.Parameter(np.stack([clip_space(1), clip_space(2)]))
    attributes = tidr.Parameter(np.random.default_rng(8).uniform(-1, 1, (2, 12, 3)))
    made, layers = [], []

    def function():
        rast, slopes = tidr.ops.rasterize(positions, FACES, SIZE)
        colors, moved = tidr.ops.interpolate(attributes, rast, FACES, slopes, [1])
        assert moved is not None
        made[:] = [tidr.ops.antialias(colors, rast, positions, FACES), moved]
        layers[:] = [layer for layer, _ in tidr.ops.peel(positions, FACES, SIZE)]
        return mixed(*made)

    gradients = tape_gradients(function, [positions, attributes])
    return [array.numpy() for array in made + layers] + gradients


@pytest.mark.row(16, 17, 19)
def test_vulkan_in_32_bits_makes_the_pictures_and_gradients_of_64(exact, vulkan):
    agree(pipeline(), exact)


@pytest.mark.row(20)
def test_the_example_of_the_documentation_fits(f64):
    example = Path(tidr.__file__).parent / "docs" / "examples" / "ops.py"
    assert len(example.read_text().splitlines()) <= 36
    losses = runpy.run_path(str(example))["losses"]
    assert losses[-1] < 0.02 * losses[0]
