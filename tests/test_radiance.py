"""Radiance grids and hash fields from pictures: new views, what they weigh, and the mesh that is in them."""

import numpy as np
import pytest

import tidr
from tidr.files.scene_file import load_scene
from tidr.fitting.fit import fit_from_settings
from tidr.renderers.field_density import field_densities
from tidr.scene.field import FrequencyField, HashField
from tidr.scene.solids import largest_solid
from tidr.scene.volume import Volume
from tidr.scene.voxels import cell_centers

from .test_extract import edge_use, volume

SMALL = ["fit.resolution=[48, 48]", "fit.rays_per_step=1024", "fit.renderer.steps=64", "fit.grow={}"]
GRID = [*SMALL, "fit.steps=120", "nodes.thing.volume.resolution=[32, 32, 32]"]
HASH = [*SMALL, "fit.steps=150", "nodes.thing.field.levels=8", "nodes.thing.field.log2_entries=12"]


@pytest.mark.long
@pytest.mark.row(89)
@pytest.mark.row(192)
@pytest.mark.parametrize(("name", "overrides", "least"), [("radiance", GRID, 22.0), ("radiance_hash", HASH, 21.0)])
def test_views_that_were_kept_out_are_foreseen(f32, name, overrides, least, record_property):
    scene = load_scene(name, overrides)
    result = fit_from_settings(scene, scene.fit)
    psnr, size = result.metrics["mean"]["psnr"], scene["thing"].geometry.byte_size()
    record_property("psnr_db", psnr)
    record_property("bytes", size)
    assert result.metrics["views_are"] == "kept out of the fit"
    assert psnr > least
    pictures = 24 * 48 * 48 * 3 * 4
    assert size < (4 * pictures if name == "radiance" else pictures)  # a field is the smaller of the two


def shell(cells: int = 24) -> np.ndarray:
    """A hollow ball of radius 0.6 in [-1, 1]^3, and crumbs around it."""
    axis = (np.arange(cells) + 0.5) / cells * 2 - 1
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    r = np.sqrt(x * x + y * y + z * z)
    density = 60 * np.clip((0.6 - r) * cells / 2 + 0.5, 0, 1) * (r > 0.35)
    density[1:3, 1:3, 1:3] = 60
    return density


def test_the_largest_solid_has_no_hollows_and_no_crumbs():
    inside = shell() > 1
    solid = largest_solid(inside)
    assert not solid[1:3, 1:3, 1:3].any()
    assert solid[12, 12, 12]
    assert solid.sum() > inside.sum()
    assert not largest_solid(np.zeros((4, 5, 6), bool)).any()
    assert largest_solid(np.ones((4, 5, 6), bool)).all()


@pytest.mark.row(84)
def test_a_volume_becomes_one_closed_mesh(f32):
    mesh = tidr.extract.mesh_of(tidr.Node(Volume(shell())), level=30.0)
    assert edge_use(mesh.faces)[::2] == ({2}, 2)
    assert volume(mesh.vertices.numpy(), mesh.faces) == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.06)
    with pytest.raises(tidr.SceneError):
        tidr.extract.mesh_of(tidr.Node(Volume(np.zeros((4, 4, 4)))))


@pytest.mark.row(84)
@pytest.mark.parametrize("kind", ["hash", "frequency"])
def test_densities_of_a_field_are_those_that_are_rendered(f64, kind):
    field = (
        HashField(levels=4, log2_entries=10, finest_resolution=32)
        if kind == "hash"
        else FrequencyField(width=16, depth=2, octaves=2, direction_octaves=1, fine_samples=4)
    )
    scene = tidr.Scene()
    scene.add_node("thing", tidr.Node(field))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 4), (0, 0, 0), height_world=2.0, width=4, height=4))
    alpha = tidr.render(scene, "front", tidr.VolumeRenderer(steps=400, stop=0.0, skip=None)).alpha.numpy()[..., 0]
    line = (np.arange(4) + 0.5) / 4 * 2 - 1
    depth = (np.arange(400) + 0.5) / 400 * 2 - 1
    y, x, z = np.meshgrid(-line, line, depth, indexing="ij")
    found = field_densities(field, np.stack([x, y, z], -1).reshape(-1, 3)).reshape(4, 4, -1)
    assert np.allclose(1 - np.exp(-found.sum(-1) * 2 / 400), alpha, atol=4e-3)
    assert field_densities(field, np.array([[0.0, 0.0, 1.5]])) == 0


def test_a_shell_with_pores_is_a_solid_ball():
    centers = np.linalg.norm(cell_centers((40, 40, 40)), axis=-1)
    shell = (centers < 0.75) & (centers > 0.62)
    rng = np.random.default_rng(3)
    for point in rng.normal(size=(12, 3)):
        place = ((0.7 * point / np.linalg.norm(point) + 1) * 20).astype(int)[::-1]
        shell[tuple(slice(k - 1, k + 2) for k in place)] = False  # a hole 3 cells wide, through and through
    shell[2:4, 2:4, 2:4] = True
    solid, ball = largest_solid(shell), centers < 0.75
    assert solid[20, 20, 20]
    assert not solid[2:4, 2:4, 2:4].any()
    assert not (solid & ~ball).sum() > 0.002 * ball.sum()
    assert (ball & ~solid).sum() < 0.02 * ball.sum()
