"""Texture look-ups on plain arrays: levels, boundaries, cube maps and their gradients against brute force."""

import numpy as np
import pytest

import tidr
from tidr.errors import SceneError

from .gradients import directional_check, tape_gradients, weighted
from .ops_reference import agree, cube_look_up, direction, mixed

RNG = np.random.default_rng(3)
UV = RNG.uniform(-0.6, 1.6, (2, 3, 4, 2))
TEXELS = RNG.random((2, 8, 4, 3))
STEPS = RNG.normal(0, 0.3, (2, 3, 4, 4))


def look_up(texels: np.ndarray, uv: np.ndarray, boundary: str, nearest: bool = False) -> np.ndarray:
    """One look-up in a picture [H, W, C]."""
    height, width, _ = texels.shape
    x, y = uv[0] * width - 0.5, (1 - uv[1]) * height - 0.5
    corners = [(int(np.floor(y)) + j, int(np.floor(x)) + i) for j in (0, 1) for i in (0, 1)]
    weights = [(1 - abs(x - i)) * (1 - abs(y - j)) for j, i in corners]
    if nearest:
        corners, weights = [(int(np.floor(y + 0.5)), int(np.floor(x + 0.5)))], [1.0]
    total = np.zeros(texels.shape[2])
    for (j, i), weight in zip(corners, weights, strict=True):
        if boundary == "wrap":
            j, i = j % height, i % width
        if boundary == "clamp":
            j, i = min(max(j, 0), height - 1), min(max(i, 0), width - 1)
        if 0 <= j < height and 0 <= i < width:
            total += weight * texels[j, i]
    return total


def shrunk(texels: np.ndarray) -> np.ndarray:
    height, width, channels = texels.shape
    tall, wide = max(height // 2, 1), max(width // 2, 1)
    return texels.reshape(tall, height // tall, wide, width // wide, channels).mean((1, 3))


@pytest.mark.row(18)
@pytest.mark.parametrize("boundary", ["wrap", "clamp", "zero"])
@pytest.mark.parametrize("filtering", ["nearest", "linear"])
def test_a_look_up_is_that_of_brute_force_beyond_the_borders_too(f64, boundary, filtering):
    seen = tidr.ops.texture(TEXELS, UV, filter_mode=filtering, boundary_mode=boundary).numpy()
    for place in np.ndindex(2, 3, 4):
        expected = look_up(TEXELS[place[0]], UV[place], boundary, filtering == "nearest")
        np.testing.assert_allclose(seen[place], expected, atol=1e-12)


@pytest.mark.row(18)
@pytest.mark.parametrize("filtering", ["linear-mipmap-nearest", "linear-mipmap-linear"])
def test_the_level_is_log2_of_the_footprints_longer_axis_plus_the_bias(f64, filtering):
    bias = np.random.default_rng(1).uniform(-2, 2, (2, 3, 4, 1))
    seen = tidr.ops.texture(TEXELS, UV, STEPS, bias, filter_mode=filtering).numpy()
    levels = [[picture] for picture in TEXELS]
    for chain in levels:
        while chain[-1].shape[:2] != (1, 1):
            chain.append(shrunk(chain[-1]))
    low, inside, high = 0, 0, 0
    for place in np.ndindex(2, 3, 4):
        jacobian = STEPS[place].reshape(2, 2) * [[4], [8]]  # texels per pixel: width 4, height 8
        level = np.log2(np.linalg.svd(jacobian)[1][0]) + bias[place][0]
        low, inside, high = low + (level < 0), inside + (0 < level < 3), high + (level > 3)
        level = min(max(level, 0), 3)
        chain = [look_up(texels, UV[place], "wrap") for texels in levels[place[0]]]
        if filtering == "linear-mipmap-nearest":
            expected = chain[int(level + 0.5)]
        else:
            expected = chain[int(level)] * (1 - level % 1) + chain[min(int(level) + 1, 3)] * (level % 1)
        np.testing.assert_allclose(seen[place], expected, atol=1e-9)
    assert min(low, inside, high) > 0


@pytest.mark.row(18)
def test_the_gradient_of_a_constant_texture_sums_to_the_number_of_pixels(f64):
    texels = tidr.Parameter(np.ones((8, 4, 2)))
    (gradient,) = tape_gradients(lambda: weighted(tidr.ops.texture(texels, UV, STEPS), 1.0), [texels])
    np.testing.assert_allclose(gradient.sum((0, 1)), 2 * 3 * 4, rtol=1e-12)


@pytest.mark.row(18)
@pytest.mark.parametrize("boundary", ["wrap", "zero"])
def test_gradients_reach_texels_uv_slopes_and_bias(f64, boundary):
    bias = np.random.default_rng(1).uniform(-1, 1, (2, 3, 4, 1))
    inputs = [tidr.Parameter(array) for array in (TEXELS, UV, STEPS, bias)]
    gradients = directional_check(lambda: mixed(tidr.ops.texture(*inputs, boundary_mode=boundary)), inputs, f64)
    assert all(gradient.any() for gradient in gradients)


@pytest.mark.row(18)
def test_levels_of_ones_own_and_levels_made_before(f64):
    own = [tidr.Parameter(np.random.default_rng(k).random((8 >> k, 8 >> k, 2))) for k in range(3)]
    bias = np.random.default_rng(1).uniform(-0.5, 2.5, (2, 3, 4, 1))
    made = tidr.ops.texture(own[0], UV, mip_level_bias=bias, mip=own[1:]).numpy()
    for place in np.ndindex(2, 3, 4):
        level = min(max(bias[place][0], 0), 2)
        chain = [look_up(texels.numpy(), UV[place], "wrap") for texels in own]
        share = level - int(level)
        np.testing.assert_allclose(made[place], (1 - share) * chain[int(level)] + share * chain[min(int(level) + 1, 2)])
    directional_check(lambda: mixed(tidr.ops.texture(own[0], UV, mip_level_bias=bias, mip=own[1:])), own, f64)
    again = tidr.ops.texture(TEXELS, UV, STEPS, mip=tidr.ops.mipmaps(TEXELS), max_mip_level=1).numpy()
    np.testing.assert_array_equal(again, tidr.ops.texture(TEXELS, UV, STEPS, max_mip_level=1).numpy())
    assert not np.array_equal(again, tidr.ops.texture(TEXELS, UV, STEPS).numpy())


CUBE = np.random.default_rng(4).random((6, 4, 4, 2))


@pytest.mark.row(18)
def test_a_cube_map_is_looked_up_across_its_seams_and_corners(f64):
    rng = np.random.default_rng(5)
    near = [direction(face, *rng.permutation([rng.choice([-1, 1]) * 0.96, rng.uniform(-1, 1)])) for face in range(6)]
    corners = [direction(face, *rng.choice([-0.97, 0.97], 2)) for face in range(6)]
    aims = np.array([*near, *corners, *rng.normal(size=(12, 3))]) * rng.uniform(0.1, 5, (24, 1))
    seen = tidr.ops.texture(CUBE, aims.reshape(1, 4, 6, 3), boundary_mode="cube").numpy().reshape(24, 2)
    np.testing.assert_allclose(seen, [cube_look_up(CUBE, aim) for aim in aims], atol=1e-12)
    assert not tidr.ops.texture(CUBE, np.zeros((1, 1, 1, 3)), boundary_mode="cube").numpy().any()


@pytest.mark.row(18)
def test_a_cube_map_is_continuous_across_all_twelve_edges(f64):
    tangent = np.random.default_rng(6).uniform(-1, 1, (6, 4))
    sides = [[(1, t[0]), (-1, t[1]), (t[2], 1), (t[3], -1)] for t in tangent]
    edges = np.array([[direction(face, s, t) for s, t in sides[face]] for face in range(6)])
    outward = np.array([direction(face, 0, 0) for face in range(6)])[:, None]
    inside, outside = (
        tidr.ops.texture(CUBE, (edges + step * outward)[None], boundary_mode="cube").numpy() for step in (1e-9, -1e-9)
    )
    np.testing.assert_allclose(inside, outside, atol=1e-7)


@pytest.mark.row(18)
def test_gradients_of_a_cube_map(f64):
    rng = np.random.default_rng(7)
    arrays = [rng.random((2, 6, 4, 4, 2)), rng.normal(size=(2, 3, 4, 3)), rng.normal(0, 0.6, (2, 3, 4, 6))]
    inputs = [tidr.Parameter(array) for array in (*arrays, rng.normal(0, 0.3, (2, 3, 4, 1)))]
    gradients = directional_check(lambda: mixed(tidr.ops.texture(*inputs, boundary_mode="cube")), inputs, f64)
    assert all(gradient.any() for gradient in gradients)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"texels": np.ones((8, 4))}, r"texture.texels: got shape \[8, 4\], expected \[H, W, C\] or \[B, H, W, C\]"),
        ({"texels": np.ones((3, 8, 4, 1))}, "are 3 pictures for 2 images"),
        ({"texels": np.ones((6, 4, 2)), "uv_slopes": STEPS}, "level 1 is 3 x 2, which does not halve.*max_mip_level=1"),
        ({"uv": np.full((1, 1, 1, 2), np.inf)}, "texture.uv: value at index .* is not finite"),
        ({"uv_slopes": STEPS[:, :2]}, r"texture.uv_slopes: has pixels \[2, 2, 4\], uv has \[2, 3, 4\]"),
        ({"mip_level_bias": np.ones((2, 3, 4))}, r"expected \[N, H, W, 1\]"),
        ({"filter_mode": "cubic"}, "texture.filter_mode: is 'cubic'.*linear-mipmap-nearest"),
        ({"filter_mode": "linear-mipmap-linear"}, "give uv_slopes or mip_level_bias"),
        ({"boundary_mode": "mirror"}, "choose one of wrap, clamp, zero, cube"),
        ({"boundary_mode": "cube"}, r"expected \[6, S, S, C\]"),
        ({"mip": [np.ones((4, 4, 3))], "uv_slopes": STEPS}, r"texture.mip\[0\]"),
        ({"max_mip_level": -1, "uv_slopes": STEPS}, "whole number"),
    ],
)
def test_bad_input_is_named(f64, changed, message):
    with pytest.raises(SceneError, match=message):
        tidr.ops.texture(**({"texels": TEXELS, "uv": UV} | changed))


def pipeline() -> list[np.ndarray]:
    """Look-ups in a picture and a cube map, and the gradients of all that they take."""
    rng = np.random.default_rng(9)
    shapes = [TEXELS.shape, UV.shape, STEPS.shape, CUBE.shape, (2, 3, 4, 3), (2, 3, 4, 6)]
    inputs = [tidr.Parameter(rng.uniform(-0.5, 0.5, shape)) for shape in shapes]
    made = []

    def both():
        made[:] = [tidr.ops.texture(*inputs[:3]), tidr.ops.texture(*inputs[3:], boundary_mode="cube")]
        return mixed(*made)

    gradients = tape_gradients(both, inputs)
    return [array.numpy() for array in made] + gradients


@pytest.fixture
def exact(f64) -> list[np.ndarray]:
    return pipeline()


@pytest.mark.row(18)
def test_vulkan_in_32_bits_looks_up_what_64_do_with_the_same_gradients(exact, vulkan):
    agree(pipeline(), exact)
