"""Degenerate scenes through every edge treatment: a defined image and finite gradients, or one clear error."""

import numpy as np
import pytest

import tidr

from .everything import blob, everything
from .test_raster_antialias import flat_scene, rectangle

EDGES = ("none", "antialias", "soft")
CHANNELS = ("rgb", "alpha", "depth", "normal", "uv", "barycentrics")


def lit(node: tidr.Node | None, position=(0, 0, 3), target=(0, 0, 0), **camera) -> tidr.Scene:
    """A scene of one node, with a shiny material, a point light and a camera."""
    scene = tidr.Scene(tidr.Film(12, 12, (0.1, 0.2, 0.3)))
    scene.add_material("shiny", tidr.Material("metallic_roughness", albedo=0.5, roughness=0.4, metallic=0.3))
    if node is not None:
        node.materials = ("shiny",)
        scene.add_node("thing", node)
    scene.add_light("bulb", tidr.PointLight((1, 2, 2), 5.0))
    camera = {"width": 12, "height": 12, "fov_y_degrees": 60} | camera
    scene.add_camera("front", tidr.Camera.look_at(position, target, **camera))
    return scene


def flattened(axes: int) -> tidr.Node:
    """A sphere whose last `axes` coordinates are zero: a disc (seen from within its plane), a line, a point."""
    vertices, faces = tidr.icosphere(1)
    vertices[:, 3 - axes :] = 0
    return tidr.Node(tidr.Mesh(vertices, faces))


def sliver() -> tidr.Node:
    """A triangle of equal corners, one of collinear corners, one that is a hair wide, and a good one."""
    vertices = [[0, 0, 0], [0, 0, 0], [0, 0, 0], [-1, 0, 0], [0, 0, 0], [1, 0, 0], [-1, 0.5, 0], [1, 0.5, 0]]
    vertices += [[0, 0.5 + 1e-13, 0], [-0.5, -0.9, 0], [0.5, -0.9, 0], [0, -0.2, 0.1]]
    return tidr.Node(tidr.Mesh(vertices, np.arange(12).reshape(4, 3)))


def at_the_camera() -> tidr.Node:
    """A fan whose hub is the camera's place, and a triangle with a corner on the near plane."""
    vertices = [[0, 0, 3], [-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0], [0, 0, 3 - 0.01]]
    return tidr.Node(tidr.Mesh(vertices, [[0, 1, 2], [0, 2, 3], [0, 3, 4], [5, 4, 1]]))


def scenes() -> dict[str, tidr.Scene]:
    """Reliability's R22, for meshes."""
    sphere = tidr.Mesh(*blob(3))
    unlit = lit(tidr.Node(sphere))
    unlit.lights.clear()
    covered = lit(tidr.Node(sphere), (0, 0, 3))
    covered.add_light("inside", tidr.PointLight((0, 0, 0.9), 1.0))
    on_surface = lit(tidr.Node(tidr.Mesh(*rectangle_mesh())))
    on_surface.add_light("touching", tidr.PointLight((0.01, 0.02, 0), 1.0))
    return {
        "empty": lit(None),
        "node without a mesh": lit(tidr.Node()),
        "one pixel": lit(tidr.Node(sphere), width=1, height=1),
        "one row": lit(tidr.Node(sphere), width=9, height=1),
        "one column": lit(tidr.Node(sphere), width=1, height=33),
        "camera inside": lit(tidr.Node(sphere), (0.1, 0, 0), (0, 0.2, -1)),
        "near plane cuts": lit(tidr.Node(sphere), (0, 0, 1.3), near=0.7),
        "beyond far": lit(tidr.Node(sphere), far=1.0),
        "everything behind": lit(tidr.Node(sphere), (0, 0, 3), (0, 0, 6)),
        "vertices at the camera": lit(at_the_camera()),
        "flat, edge-on": lit(flattened(1), (3, 0, 0)),
        "a line": lit(flattened(2)),
        "a point": lit(flattened(3)),
        "slivers": lit(sliver()),
        "no lights": unlit,
        "a light inside": covered,
        "a light on the surface": on_surface,
        "tiny": lit(tidr.Node(sphere, scale=1e-7)),
        "huge": lit(tidr.Node(sphere, scale=1e7), (0, 0, 3)),
        "far away": lit(tidr.Node(sphere, (), None, (0, 0, -1e6))),
        "orthographic inside": lit(tidr.Node(sphere), (0, 0, 0.2), fov_y_degrees=None, height_world=2.0),
    }


def rectangle_mesh() -> tuple[np.ndarray, list]:
    corners, faces = rectangle(-1, 1, -1, 1)
    return np.concatenate([corners, np.zeros((4, 1))], 1), faces


def check(name: str, scene: tidr.Scene, edges: str) -> None:
    parameters = scene.parameters()
    with tidr.Tape() as tape:
        image = tidr.render(scene, renderer=tidr.Rasterizer(edges=edges, channels=CHANNELS, sigma=1e-3))
        for channel in CHANNELS:
            array = image.channel(channel)
            assert np.isfinite(array.numpy()).all(), f"{name}, {edges}: {channel}"
            tape.add(tidr.losses.mse(array, np.full(array.shape, 0.3)))
    alpha = image.alpha.numpy()
    # A tip thinner than a pixel meets up to four pairs, each of which may take half of it.
    slack = 1.0 if edges == "antialias" else 1e-6
    assert (alpha >= -slack).all(), f"{name}, {edges}"
    assert (alpha <= 1 + slack).all(), f"{name}, {edges}"
    for path, parameter in parameters.items():
        assert np.isfinite(parameter.grad_numpy()).all(), f"{name}, {edges}: gradient of {path}"


@pytest.mark.parametrize("edges", [*EDGES, "opendr", "nmr", "nmr_local", "genova", "dibr", "splat"])
def test_degenerate_scenes_have_an_image_and_finite_gradients(f32, edges):
    for name, scene in scenes().items():
        check(name, scene, edges)


def test_degenerate_scenes_on_vulkan(vulkan):
    """An empty one, one of a pixel, and the nodes of several in one."""
    together = lit(at_the_camera())
    cut = tidr.Node(tidr.Mesh(*blob(3)), (), None, (0, 0, 2.2))
    for name, node in (("slivers", sliver()), ("point", flattened(3)), ("cut by the near plane", cut)):
        node.materials = ("shiny",)
        together.add_node(name, node)
    for edges in EDGES:
        check("vertices at the camera, slivers, a point, a near plane that cuts", together, edges)
    check("empty", scenes()["empty"], "none")
    check("one pixel", scenes()["one pixel"], "antialias")


def test_what_is_empty_shows_the_background(f32):
    for name in ("empty", "node without a mesh", "beyond far", "everything behind", "a line", "a point"):
        scene = scenes()[name]
        for edges in EDGES:
            image = tidr.render(scene, renderer=tidr.Rasterizer(edges=edges))
            np.testing.assert_allclose(image.rgb.numpy(), np.broadcast_to([0.1, 0.2, 0.3], (12, 12, 3)), rtol=1e-6)
            assert not image.alpha.numpy().any(), f"{name}, {edges}"
            assert (image.ids == -1).all()


def test_the_near_plane_cuts_where_it_stands(f64):
    # A floor that runs behind the camera is seen down to the near plane, with exact depths.
    floor = np.array([[-50, -1, 30], [50, -1, 30], [50, -1, -60], [-50, -1, -60]], float)
    scene = lit(tidr.Node(tidr.Mesh(floor, [[0, 1, 2], [0, 2, 3]])), (0, 0, 0), (0, 0, -1), near=1.25, fov_y_degrees=90)
    image = tidr.render(scene, renderer=tidr.Rasterizer(edges="none"))
    rows = (np.arange(12) + 0.5) / 6 - 1
    depth = np.where(rows > 0, 1 / np.maximum(rows, 1e-9), 0)
    seen = (depth > 1.25) & (depth < 60)
    np.testing.assert_allclose(image.depth.numpy()[:, :, 0], np.repeat((depth * seen)[:, None], 12, 1), rtol=1e-9)


def test_values_that_are_not_finite_are_refused_with_their_place(f32):
    scene = everything()
    vertices = scene.parameters()["left.vertices"]
    before = vertices.numpy()
    for bad in (np.nan, np.inf, -np.inf):
        wrong = before.copy()
        wrong[7, 1] = bad
        with pytest.raises(tidr.SceneError, match=r"left\.vertices.*\(7, 1\).*not finite"):
            vertices.set(wrong)
    np.testing.assert_array_equal(vertices.numpy(), before)
    with pytest.raises(tidr.SceneError, match=r"\(0, 2\)"):
        tidr.Mesh([[0, 0, np.nan], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]])


def test_settings_that_make_no_sense_are_refused(f32):
    for wrong in ({"edges": "hard"}, {"sigma": 0.0}, {"gamma": -1.0}, {"faces_per_pixel": 0}, {"distance": "far"},
                  {"depth_range": (3.0, 1.0)}, {"alpha_mode": "max"}, {"color_mode": "sum"}):  # fmt: skip
        with pytest.raises(tidr.SceneError, match="renderer"):
            tidr.Rasterizer(**wrong)
    scene = flat_scene(*rectangle(2, 9, 2, 9))
    with pytest.raises(tidr.SceneError, match="colour"):
        tidr.render(scene, renderer=tidr.Rasterizer(channels=("colour",)))
    with pytest.raises(tidr.SceneError, match=r"side.*front"):
        tidr.render(scene, camera="side")
    with pytest.raises(tidr.SceneError, match="empty"):
        tidr.render(scene, camera=[])
