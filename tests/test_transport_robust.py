"""Paths and photons on what nobody would draw, R22: a defined picture and finite gradients; see also R17's file."""

import numpy as np
import pytest

import tidr
from tidr.renderers.path import PathTracer
from tidr.renderers.photons import PhotonMapper
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.mesh import Mesh, icosphere

from .gradients import tape_gradients, weighted
from .photon_stage import camera, quad, stage

SIZE = 6
RENDERERS = {
    "path": lambda **options: PathTracer(**{"samples": 4, "max_depth": 6, **options}),
    "photons": lambda **options: PhotonMapper(**{"photons": 2000, "passes": 2, "max_depth": 6, **options}),
}
LIT = {"bulb": 3.0, "panel": 2.0}
DARK = (
    "nothing but the sky's dark", "a lamp that is a point", "a lamp that is a line", "the eye in a grey ball",
    "the eye behind everything",
)  # fmt: skip


def drawn(scene, kind: str, view: Camera, size=(SIZE, SIZE), **options) -> np.ndarray:
    """The picture, once it and all gradients are finite and no light is negative."""
    arrays = [*scene.parameters().values(), *view.parameters().values()]
    shown = {}

    def loss():
        image = tidr.render(scene, camera=view, renderer=RENDERERS[kind](**options), width=size[0], height=size[1])
        shown["rgb"], shown["alpha"] = image.rgb.numpy(), image.alpha.numpy()
        return weighted(image.rgb, 1.0)

    for array, gradient in zip(arrays, tape_gradients(loss, arrays), strict=True):
        assert np.isfinite(gradient).all(), array.label
    assert np.isfinite(shown["rgb"]).all()
    assert (shown["rgb"] >= 0).all()
    assert (shown["alpha"] >= 0).all()
    assert (shown["alpha"] <= 1 + 1e-6).all()
    return shown["rgb"].astype(np.float64)


def slivers() -> Mesh:
    """A triangle of equal corners, one of collinear ones, one that is a hair wide, and a good one."""
    vertices = [[0, 0, 0], [0, 0, 0], [0, 0, 0], [-1, 0, 0], [0, 0, 0], [1, 0, 0], [-1, 0.5, 0], [1, 0.5, 0]]
    vertices += [[0, 0.5 + 1e-13, 0], [-0.5, -0.9, 0], [0.5, -0.9, 0], [0, -0.2, 0.1]]
    return Mesh(vertices, np.arange(12).reshape(4, 3))


def with_node(node: Node, **light) -> Scene:
    scene = stage(**(light or LIT))
    scene.add_node("thing", node)
    return scene


def without(*names, **light) -> Scene:
    scene = stage(**(light or LIT))
    for name in names:
        scene.nodes[name].translation.set([0.0, -80.0, 0.0])  # no less materials than elsewhere: see `stage`
    return scene


def bulb_at(*place) -> Scene:
    scene = stage(**LIT)
    scene.lights["bulb"].position.set(place)
    return scene


def panel_of(vertices) -> Scene:
    scene = stage(panel=5.0)
    scene.nodes["panel"].geometry.vertices.set(vertices)
    return scene


def doubled(name: str, material: str) -> Scene:
    """A node's triangles twice, in the same place."""
    scene = stage(**LIT)
    other = scene.nodes[name]
    place = {key: value.numpy() for key, value in other.transform_parameters().items()}
    scene.add_node("double", Node(Mesh(other.vertices.numpy(), other.faces, shading="flat"), (material,), **place))
    return scene


def seen_from(position, target=(0.0, 0.6, 0.0)) -> Camera:
    return Camera.look_at(position, target, fov_y_degrees=50)


def scenes() -> dict[str, tuple[Scene, Camera]]:
    """Reliability's R22, for light transport."""
    front = camera()
    ball, above = Mesh(*icosphere(1)), np.array([0.0, 1.9, 0.0])  # small numbers beside a 0 are not rounded
    return {
        "a node without a mesh": (with_node(Node()), front),
        "nothing but the sky's dark": (without("floor", "wall", "mirror", "ball", "panel"), front),
        "slivers of glass": (with_node(Node(slivers(), ("glass",), translation=(0, 1, 0))), front),
        "slivers that mirror": (with_node(Node(slivers(), ("silver",), translation=(0, 1, 0))), front),
        "slivers that shine": (with_node(Node(slivers(), ("glow",), translation=(0, 1, 0)), panel=1.0), front),
        "a lamp that is a point": (panel_of(np.full((4, 3), [0.4, 2.6, 0.3])), front),
        "a lamp that is a line": (panel_of(np.outer(range(4), (0.1, 0, 0)) + np.array([0.4, 2.6, 0.3])), front),
        "a lamp of hardly any area": (
            panel_of(1e-10 * quad([0, 0, 0], [0, 0, 1], [1, 0, 0]).vertices.numpy() + above),
            front,
        ),
        "a lamp in the floor": (panel_of(stage().nodes["floor"].vertices.numpy()), front),
        "a lamp that touches a ball": (with_node(Node(ball, ("white",), translation=(0.4, 1.6, 0.3))), front),
        "a bulb in the floor": (bulb_at(0, 0, 0), front),
        "a bulb in a corner of the wall": (bulb_at(*stage().nodes["wall"].vertices.numpy()[0]), front),
        "a bulb in the eye": (bulb_at(*front.position.numpy()), front),
        "a bulb in glass": (bulb_at(0, 0.7, 0), front),
        "two floors in one place": (doubled("floor", "red"), front),
        "two balls in one place": (doubled("ball", "glass"), front),
        "a mirror in the wall": (doubled("wall", "silver"), front),
        "the eye in glass": (stage(**LIT), seen_from((0, 0.7, 0.1), (0.3, 0.9, -1))),
        "the eye in a grey ball": (with_node(Node(ball, ("white",), translation=front.position.numpy())), front),
        "the eye on the floor": (stage(**LIT), seen_from((0, 0, 0), (0, 1, -1))),
        "the eye on a corner": (stage(**LIT), seen_from(stage().nodes["mirror"].vertices.numpy()[2])),
        "the eye behind everything": (stage(**LIT), seen_from((0, 1, 9), (0, 1, 20))),
        "along the floor": (stage(**LIT), Camera.look_at((0, 0, 3), (0, 0, 0), height_world=1.0)),
        "all in one point": (with_node(Node(ball, ("glass",), scale=1e-12), bulb=1.0), front),
    }


@pytest.mark.parametrize("kind", RENDERERS)
def test_degenerate_scenes_have_a_picture_and_finite_gradients(f32, kind):
    for name, (scene, view) in scenes().items():
        try:
            seen = drawn(scene, kind, view)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        assert (seen.max() == 0) == (name in DARK), name


@pytest.mark.parametrize("kind", RENDERERS)
def test_one_pixel_and_thin_pictures(f32, kind):
    for size in ((1, 1), (1, 5), (5, 1)):
        assert drawn(stage(**LIT), kind, camera(), size).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("kind", RENDERERS)
def test_lamps_without_area_or_power_are_no_lamps(f32, kind):
    """Nothing is dark only because something else has no light."""
    flat = panel_of(np.full((4, 3), [0.4, 2.6, 0.3]))
    assert drawn(flat, kind, camera()).max() == 0
    flat.lights["bulb"].intensity.set((3.0, 3.0, 3.0))
    lit = drawn(flat, kind, camera())
    assert lit.max() > 0
    assert drawn(stage(), kind, camera()).max() == 0


@pytest.mark.parametrize("kind", RENDERERS)
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_light_does_not_depend_on_the_unit_of_length(f32, kind, scale):
    """With the same random numbers: only what rounding decides may differ."""

    def seen(scale):
        scene, view = stage(**LIT), camera()
        scene.add_node("root", Node(scale=scale))
        for name, node in scene.nodes.items():
            if name != "root":
                node.parent = "root"
        scene.lights["bulb"].position.set(scale * scene.lights["bulb"].position.numpy())
        scene.lights["bulb"].intensity.set(scale**2 * scene.lights["bulb"].intensity.numpy())
        view.position.set(scale * view.position.numpy())
        sizes = {"samples": 64} if kind == "path" else {"photons": 20_000, "radius": 0.1 * scale}
        return drawn(scene, kind, view, (16, 16), **sizes)

    plain, scaled = seen(1.0), seen(scale)
    assert scaled.mean() == pytest.approx(plain.mean(), rel=5e-3)
    assert (np.abs(scaled - plain) <= 1e-3 * plain).mean() > 0.6
