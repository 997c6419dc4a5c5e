"""Gradients of the point splats: f64 against finite differences, Vulkan against f64."""

import numpy as np
import pytest

import tidr
from tidr.renderers.points import PointRenderer

from .conftest import on_backends
from .gradients import weighted
from .point_scenes import cloud, placed, view
from .voxel_scenes import against_f64

# Wide enough, or with few enough points, that no step of a difference crosses one of the jumps.
STYLES = {
    "gaussian": PointRenderer(splat="gaussian", sigma_pixels=9),
    "gaussian with alpha": PointRenderer(splat="gaussian", sigma_pixels=9, compositing="alpha"),
    "knn": PointRenderer(splat="knn", radius_pixels=5),
    "knn by radii": PointRenderer(splat="knn", radius_pixels=0, tau=1.7),
    "knn of PyTorch3D": PointRenderer(splat="knn", radius_pixels=6, falloff="pytorch3d"),
    "knn, weighted sum": PointRenderer(splat="knn", radius_pixels=5, compositing="weighted_sum"),
    "knn, normalised": PointRenderer(splat="knn", radius_pixels=60, compositing="normalised", falloff="pytorch3d"),
    "knn, softmax": PointRenderer(splat="knn", radius_pixels=60, compositing="softmax", gamma=0.5),
    "knn, nearest three": PointRenderer(splat="knn", radius_pixels=60, points_per_pixel=3),
    "sphere": PointRenderer(splat="sphere", gamma=0.3),
    "sphere by range": PointRenderer(splat="sphere", gamma=0.15, depth_range=(1.0, 6.0)),
    "blobs by radii": PointRenderer(splat="rhodin"),
}


def check(build, style, channel, backend, seed):
    """build() makes (scene, cameras, arrays to differentiate by)."""

    def problem():
        scene, cameras, arrays = build()

        def loss():
            found = tidr.render(scene, cameras, STYLES[style]).channel(channel)
            return weighted(found, np.random.default_rng(seed + 100).normal(size=found.shape))

        return loss, arrays

    against_f64((build.__qualname__, style, channel, seed), problem, backend, seed)


@pytest.mark.row(11, 67, 68, 69, 75, 120)
@pytest.mark.parametrize(
    ("backend", "style", "seed"),
    on_backends(
        [(style, seed) for style in STYLES for seed in (0, 1)],
        [("gaussian", 0), ("knn", 0), ("knn, softmax", 0), ("sphere", 0), ("blobs by radii", 0)],
    ),
    indirect=["backend"],
)
def test_points(backend, style, seed):
    """Two nodes, in a batch of two cameras of both kinds."""

    def build():
        held = cloud(seed)
        scene = placed(held, cloud(seed + 20, 5))
        arrays = [held.positions, held.colors, held.opacities]
        if "radii" in style or "sphere" in style:
            arrays.append(held.radii)
        return scene, [view(), view("orthographic", distance=2.8)], arrays

    check(build, style, "rgb", backend, seed)
    if (seed, backend.precision) == (0, 64) and STYLES[style].radius_pixels < 60:  # else all is covered
        check(build, style, "alpha", backend, seed)


@pytest.mark.row(67, 68, 69, 75, 120)
@pytest.mark.parametrize(
    ("backend", "style", "kind"),
    on_backends(
        [
            (style, kind)
            for style in ("gaussian", "knn", "knn by radii", "knn, softmax", "sphere", "blobs by radii")
            for kind in ("perspective", "orthographic")
        ],
        [("knn", "perspective"), ("sphere", "orthographic")],
    ),
    indirect=["backend"],
)
def test_cameras_and_transforms(backend, style, kind):
    seed = {"perspective": 5, "orthographic": 6}[kind]

    def build():
        scene, camera = placed(cloud(5, 6), cloud(6, 3)), view(kind)
        place = [*scene["a"].transform_parameters().values(), scene["base"].rotation]
        return scene, camera, [*place, *camera.parameters().values()]

    check(build, style, "rgb", backend, seed)


@pytest.mark.row(67, 68, 69, 75)
@pytest.mark.parametrize(
    ("backend", "style"),
    on_backends(
        [("gaussian",), ("knn, softmax",), ("knn, nearest three",), ("sphere",), ("blobs by radii",)],
        [("knn, softmax",)],
    ),
    indirect=["backend"],
)
def test_depth(backend, style):
    def build():
        held, camera = cloud(7, radius=(3.0, 3.2)) if style == "sphere" else cloud(7), view()
        if style == "sphere":  # so large that they fill the picture: the mean over an empty ray is no smooth function
            camera = view(distance=9.0, fov_y_degrees=10)
        return placed(held), camera, [held.positions, held.opacities, camera.position, camera.rotation]

    check(build, style, "depth", backend, 7)


@pytest.mark.row(65)
def test_pixels(backend):
    """Colours, opacities and depths of the winners; places have no gradient across the screen."""
    STYLES["pixel"] = PointRenderer(splat="pixel")

    def build():
        held = cloud(8)
        return placed(held), view(), [held.colors, held.opacities]

    def depth():
        held, camera = cloud(8), view()
        return placed(held), camera, [held.positions, camera.position]

    check(build, "pixel", "rgb", backend, 8)
    check(depth, "pixel", "depth", backend, 8)


@pytest.mark.row(120)
@pytest.mark.parametrize(("backend", "style"), on_backends([("knn",), ("sphere",)], [("knn",)]), indirect=["backend"])
def test_lit_points(backend, style):
    """A glossy node under a point light and an ambient one, beside one that is not lit, seen by two cameras."""

    def build():
        held = cloud(9, normals=True)
        scene = placed(held, cloud(10, 4))
        scene.add_material("gloss", tidr.Material("blinn_phong", albedo="vertex_colors", specular=0.4, shininess=4.0))
        scene.add_light("lamp", tidr.PointLight((1.0, 2.0, 2.5), 9.0))
        scene.add_light("room", tidr.AmbientLight(0.3))
        scene["a"].materials = ("gloss",)
        camera = view(distance=2.8)
        lamp = scene.lights["lamp"]
        arrays = [held.positions, held.colors, held.normals, lamp.position, camera.position, scene["a"].rotation]
        return scene, [view("orthographic"), camera], arrays

    check(build, style, "rgb", backend, 9)
