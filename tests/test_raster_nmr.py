"""Gradients of the neural mesh renderer: closed forms of one edge, a numpy twin, and fits to silhouettes."""

import numpy as np
import pytest

import tidr

from .gradients import directional_check, tape_gradients, weighted
from .test_raster_antialias import SIDE, flat_scene
from .test_raster_opendr import check_constant_colours, pile

NMR, LOCAL = tidr.Rasterizer(edges="nmr"), tidr.Rasterizer(edges="nmr_local")
FINE, EPS = 2 * SIDE, 1e-3


def lone_edge() -> tidr.Scene:
    """A triangle whose right edge alone crosses the picture, at x = 6.3."""
    return flat_scene([[6.3, -9], [6.3, 25], [-60, 8]], [[0, 1, 2]], shading="flat")


def moved_by(scene: tidr.Scene, column: int, weight: float, renderer=NMR) -> np.ndarray:
    """dL/dvertices of L = weight * alpha of the pixel (7, column)."""
    weights = np.zeros((SIDE, SIDE, 1))
    weights[7, column] = weight
    return tape_gradients(
        lambda: weighted(tidr.render(scene, renderer=renderer).alpha, weights), [scene["shape"].vertices]
    )[0]


@pytest.mark.row(8)
def test_a_pixel_pulls_both_ends_of_an_edge_by_delta_over_distance(f64):
    scene = lone_edge()
    found = moved_by(scene, 11, -0.7)
    ends = [(-9, 0.0), (25, 0.0)]
    for row in (14, 15):
        y = SIDE - (row + 0.5) / 2
        for column in (22, 23):
            edge = (column + 0.5) / 2 - 6.3  # in pixels, of which SIDE are two units of NDC
            for k, (own, other) in enumerate(((-9, 25), (25, -9))):
                distance = edge * (other - own) / (other - y) * 2 / SIDE + EPS
                ends[k] = (ends[k][0], ends[k][1] - 0.7 / 4 / distance * 2 / SIDE)
    np.testing.assert_allclose(found[:2, 0], [end[1] for end in ends], rtol=1e-10)
    assert not found[:, 1:].any()
    assert not found[2].any()


@pytest.mark.row(8)
def test_what_would_raise_the_loss_moves_nothing(f64):
    scene = lone_edge()
    for column, weight, moves in ((11, 0.7, False), (11, -0.7, True), (3, -0.7, False), (3, 0.7, True)):
        assert moved_by(scene, column, weight).any() == moves
    assert (moved_by(scene, 3, 0.7)[:2, 0] > 0).all()  # inwards, by descent


@pytest.mark.row(9)
def test_the_local_variant_feels_the_neighbours_alone(f64):
    """A sample at either side of the edge tells all samples that it or they could change with; others nothing."""
    for column, weight, moves in ((8, -0.7, False), (6, -0.7, True), (6, 0.7, True), (4, 0.7, False), (3, 0.7, False)):
        assert moved_by(lone_edge(), column, weight, LOCAL).any() == moves, (column, weight)
    # The edge stands at sample 12.6 of each row: column 12, seen, gains by moving on where 13 should be bright.
    gradient = moved_by(lone_edge(), 6, -0.7, LOCAL)
    np.testing.assert_allclose(gradient[:, 0].sum() / 2, 2 * -0.7 / 4, rtol=1e-12)


def falls(picture: np.ndarray, slope: np.ndarray) -> np.ndarray:
    return np.maximum(((picture[0] - picture[1]) * slope).sum(), 0)


def swept(points, faces, ids, picture, slopes) -> np.ndarray:
    """dL/dpoints [V, 2], in NDC, as the method's definition has it; points and pictures [S, S] in samples (x, y)."""
    gradient = np.zeros((len(points), 2))
    for f, k in np.ndindex(len(faces), 3):
        ends = faces[f][[k, (k + 1) % 3]]
        third = points[faces[f][(k + 2) % 3]] - 0.5
        for axis in range(2):  # of what moves
            (p0, p1), r = points[ends][:, :: -1 if axis == 0 else 1] - 0.5, third[:: -1 if axis == 0 else 1]
            at = (lambda line, d: (line, d)) if axis == 0 else (lambda line, d: (d, line))
            slant = (p1[1] - p0[1]) / (p1[0] - p0[0])
            out = 1 if r[1] < p0[1] + slant * (r[0] - p0[0]) else -1
            for line in range(FINE):
                if not min(p0[0], p1[0]) <= line <= max(p0[0], p1[0]):
                    continue
                cross = p0[1] + slant * (line - p0[0])
                inner = int(np.floor(cross)) if out > 0 else int(np.ceil(cross))
                if not (0 <= inner < FINE and 0 <= inner + out < FINE):
                    continue
                visible = ids[at(line, inner)] == f
                for d in range(FINE):
                    outside = (d - inner) * out > 0
                    if not (visible if outside else ids[at(line, d)] == f):
                        continue
                    color = picture[at(line, inner if outside else inner + out)]
                    delta = ((picture[at(line, d)] - color) * slopes[at(line, d)]).sum()
                    if delta > 0:
                        for end, (own, other) in zip(ends, ((p0[0], p1[0]), (p1[0], p0[0])), strict=True):
                            distance = (d - cross) * (other - own) / (other - line) * 2 / FINE
                            gradient[end, axis] -= delta / (distance + np.copysign(EPS, distance))
    return gradient


def stepped(points, faces, ids, picture, slopes, bary) -> np.ndarray:
    """As `swept` for the local variant, by whole pictures: what samples gain by a step ahead or back."""
    gradient = np.zeros((len(points), 2))
    for axis in range(2):
        # Lines run along the last but one axis here.
        i, g, seen, b = (np.swapaxes(a, 0, 1) if axis == 1 else a for a in (picture, slopes, ids, bary))
        ahead = ((i[:, 1:] - i[:, :-1]) * g[:, 1:]).sum(-1)  # had the sample ahead this one's colour
        back = ((i[:, :-1] - i[:, 1:]) * g[:, :-1]).sum(-1)
        on, off = (np.pad(a, ((0, 0), (0, 1))) + np.pad(a, ((0, 0), (1, 0))) for a in (ahead, back))
        pull = np.where(on > off, -np.maximum(on, 0), np.where(off > on, np.maximum(off, 0), 0)) * FINE / 2
        for place in np.argwhere(seen >= 0):
            gradient[faces[seen[tuple(place)]], axis] += pull[tuple(place)] * b[tuple(place)]
    return gradient


@pytest.mark.row(8)
@pytest.mark.row(9)
def test_gradients_are_as_defined(backend):
    scene, _ = pile()
    mesh, rng = scene["shape"].mesh, np.random.default_rng(5)
    points = 2 * mesh.vertices.numpy().astype(float)[:, :2] * [1, -1] + [0, FINE]
    fine = tidr.render(scene, renderer=tidr.Rasterizer(edges="none"), width=FINE, height=FINE)
    for channel, channels in (("rgb", 3), ("alpha", 1))[: 2 if backend.precision == 64 else 1]:
        weights = rng.normal(size=(SIDE, SIDE, channels))
        picture = fine.channel(channel).numpy().astype(float)
        slopes = np.repeat(np.repeat(weights / 4, 2, 0), 2, 1)
        known = (
            (NMR, swept(points, mesh.faces, fine.ids, picture, slopes)),
            (LOCAL, stepped(points, mesh.faces, fine.ids, picture, slopes, fine.barycentrics.numpy())),
        )
        for renderer, expected in known:
            with tidr.Tape() as tape:
                image = tidr.render(scene, renderer=renderer).channel(channel)
                tape.add(weighted(image, weights))
            gradient = mesh.vertices.grad_numpy().astype(float)
            expected = expected * 2 / SIDE * [1, -1]
            exact = 1e-9 if backend.precision == 64 else 2e-4
            np.testing.assert_allclose(gradient[:, :2], expected, rtol=exact, atol=exact * np.abs(expected).max())
            assert not gradient[:, 2].any()
            np.testing.assert_allclose(
                image.numpy(), picture.reshape(SIDE, 2, SIDE, 2, -1).mean((1, 3)), rtol=1e-5, atol=1e-7
            )


@pytest.mark.row(5)
def test_constant_colours_have_a_gradient(f64):
    check_constant_colours("nmr")


def test_colours_are_exact_and_depth_is_that_of_the_plain_picture(f64):
    scene, _ = pile()
    colors, rng = scene["shape"].mesh.colors, np.random.default_rng(6)
    weights = rng.normal(size=(SIDE, SIDE, 3))
    for renderer in (NMR, LOCAL):
        directional_check(lambda r=renderer: weighted(tidr.render(scene, renderer=r).rgb, weights), [colors], f64)
    found = []
    for edges in ("none", "nmr"):
        with tidr.Tape() as tape:
            image = tidr.render(scene, renderer=tidr.Rasterizer(edges=edges, channels=("depth",)))
            tape.add(weighted(image.depth, weights[..., :1]))
        found.append((image.depth.numpy(), image.ids, scene["shape"].vertices.grad_numpy()))
    for nmr, plain in zip(*found, strict=True):
        np.testing.assert_array_equal(nmr, plain)


@pytest.mark.parametrize("renderer", [NMR, LOCAL])
def test_two_views_are_two_pictures(f64, renderer):
    scene, _ = pile()
    cameras = [scene["front"], tidr.Camera.look_at((6, 9, 30), (8, 8, 0), fov_y_degrees=30, width=SIDE, height=SIDE)]
    weights = np.random.default_rng(2).normal(size=(2, SIDE, SIDE, 3))

    def gradient(chosen, parts) -> np.ndarray:
        return tape_gradients(
            lambda: weighted(tidr.render(scene, chosen, renderer).rgb, parts), [scene["shape"].vertices]
        )[0]

    both = gradient(cameras, weights)
    np.testing.assert_allclose(both, sum(gradient([cameras[k]], weights[k : k + 1]) for k in range(2)), rtol=1e-9)


@pytest.mark.long
@pytest.mark.row(8)
@pytest.mark.row(9)
def test_a_sphere_fills_silhouettes(f32):
    from tidr.problems.runner import problems, solve

    problem = problems(["T3-blob"])[0]
    missed = {edges: solve(problem, edges) for edges in ("nmr", "nmr_local")}
    assert missed["nmr"].error <= 0.1, missed
    assert abs(missed["nmr_local"].error - missed["nmr"].error) <= 0.02, missed
