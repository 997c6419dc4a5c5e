"""Gradients of every method of the voxel renderer: f64 against finite differences, Vulkan against f64."""

import numpy as np
import pytest

import tidr
from tidr.renderers.voxels import VoxelRenderer
from tidr.renderers.voxels_warp import warp_positions
from tidr.scene.affine_mixture import AffineMixture
from tidr.scene.voxels import cell_centers

from .conftest import on_backends
from .gradients import weighted
from .voxel_scenes import against_f64, bent, cloud, placed, view

MARCHED = ("ptn", "visual_hull", "absorption", "emission_absorption", "neural_volumes")
OPTIONS = {
    "ptn": {"samples": 12},
    "neural_volumes": {"samples": 24, "density_scale": 1.1, "jitter": True, "seed": 5},
    "emission_absorption": {"density_scale": 0.6},
}


def renderer(method: str, **options) -> VoxelRenderer:
    return VoxelRenderer(method=method, **(OPTIONS.get(method, {}) | options))


def check(build, drawer, channel, backend, seed):
    """build() makes (scene, camera, arrays to differentiate by)."""

    def problem():
        scene, camera, arrays = build()

        def loss():
            found = tidr.render(scene, camera, drawer).channel(channel)
            return weighted(found, np.random.default_rng(seed + 100).normal(size=found.shape))

        return loss, arrays

    against_f64((build.__qualname__, drawer, channel, seed), problem, backend, seed)


def everything(scene, camera):
    """Parameters of the nodes and of the camera."""
    place = scene["grid"].transform_parameters().values()
    return [*place, scene["base"].rotation, *camera.parameters().values()]


@pytest.mark.row(64, 121)
@pytest.mark.parametrize(
    ("backend", "method", "seed"),
    on_backends(
        [(method, seed) for method in ("drc", *MARCHED) for seed in (0, 1)],
        [(method, 0) for method in ("drc", *MARCHED)],
    ),
    indirect=["backend"],
)
def test_grids(backend, method, seed):
    def build():
        grid = cloud(seed, border=0.1)  # the mean over an empty ray is no smooth function
        return placed(grid), view(["perspective", "orthographic"][seed % 2]), [grid.occupancy, grid.color]

    def shape():
        scene, camera, arrays = build()
        return scene, camera, arrays[:1]

    check(build, renderer(method), "rgb", backend, seed)
    if method != "ptn" and (method == "drc" or backend.precision == 64):  # its depth is that of the largest sample
        check(shape, renderer(method), "depth", backend, seed)


@pytest.mark.row(64)
@pytest.mark.parametrize(
    ("backend", "method", "kind"),
    on_backends(
        [(method, kind) for method in MARCHED for kind in ("perspective", "orthographic")],
        [("emission_absorption", "perspective")],
    ),
    indirect=["backend"],
)
def test_rays(backend, method, kind):
    seed = {"perspective": 0, "orthographic": 1}[kind]

    def build():
        scene, camera = placed(cloud(0)), view(kind, 5, part=0.25)  # no ray grazes the box
        return scene, camera, everything(scene, camera)

    check(build, renderer(method), "rgb", backend, seed)
    check(build, renderer(method), "depth", backend, seed)


def test_faces_of_cells_move_the_depth(f64):
    def build():
        scene, camera = placed(cloud(3)), view()
        return scene, camera, everything(scene, camera)

    check(build, renderer("drc"), "depth", f64, 3)
    check(build, renderer("drc", background_depth=9.0), "depth", f64, 4)


@pytest.mark.row(61)
@pytest.mark.parametrize(
    ("backend", "method"),
    on_backends([("neural_volumes",), ("ptn",), ("emission_absorption",)], [("neural_volumes",)]),
    indirect=["backend"],
)
def test_warp(backend, method):
    def build():
        grid = cloud(4, warp=bent(4))
        scene, camera = placed(grid), view()
        return scene, camera, [grid.occupancy, grid.color, grid.warp, camera.position, scene["grid"].translation]

    check(build, renderer(method, jitter=False), "rgb", backend, 4)


@pytest.mark.row(121)
@pytest.mark.parametrize(
    ("backend", "kind"), on_backends([("perspective",), ("orthographic",)], [("perspective",)]), indirect=["backend"]
)
def test_splats(backend, kind):
    seed = {"perspective": 0, "orthographic": 1}[kind]

    def build():
        grid = cloud(6 + seed, border=0.3)
        scene, camera = placed(grid), view(kind)
        return scene, camera, [grid.occupancy, grid.color, *everything(scene, camera)]

    check(build, renderer("splat"), "rgb", backend, seed)
    check(build, renderer("splat", background_depth=6.0), "depth", backend, seed)


@pytest.mark.row(61)
def test_affine_mixture(backend):
    def build():
        rng = np.random.default_rng(8)
        mixture = AffineMixture(3, (3, 4, 5), logs=rng.normal(size=(3, 3, 4, 5)))
        mixture.translation.set(rng.uniform(-0.1, 0.1, (3, 3)))
        mixture.rotation.set(rng.normal(size=(3, 4)) * 0.05 + [1, 0, 0, 0])
        mixture.scale.set(rng.uniform(0.9, 1.1, (3, 3)))
        grid = cloud(8, warp=mixture)
        arrays = [grid.occupancy, *mixture.parameters().values()]
        return placed(grid), view(size=6, part=0.5), arrays

    check(build, renderer("neural_volumes", jitter=False), "rgb", backend, 8)


@pytest.mark.row(61)
def test_an_affine_mixture_begins_as_the_identity(f64):
    warp = warp_positions(cloud(0, warp=AffineMixture(16, (4, 5, 6))))
    assert warp is not None
    np.testing.assert_allclose(warp.numpy(), cell_centers((4, 5, 6), (-1, -0.9, -0.8), (0.9, 1.1, 0.7)), atol=1e-12)


@pytest.mark.row(57)
def test_classes(backend):
    def build():
        grid = cloud(5, classes=5)
        return placed(grid), view(), [grid.occupancy, grid.semantics]

    check(build, renderer("drc"), "semantics", backend, 5)
