"""Fits of grids and fields that were stopped and go on: the same numbers as in one go, to the last bit."""

import numpy as np
import pytest

import tidr
from tidr.fitting.fit import fit_from_settings
from tidr.fitting.settings import FitSettings, ParameterSettings
from tidr.scene.field import HashField
from tidr.scene.volume import Volume
from tidr.scene.voxels import VoxelGrid

SIZE, STEPS = 12, 100


def with_cameras(geometry) -> tidr.Scene:
    scene = tidr.Scene(tidr.Film(SIZE, SIZE))
    scene.add_node("thing", tidr.Node(geometry))
    for number, camera in enumerate(tidr.sphere_views(4, 4.0, fov_y_degrees=40, width=SIZE, height=SIZE)):
        scene.add_camera(f"view{number}", camera)
    return scene


def hash_field() -> HashField:
    return HashField(levels=3, log2_entries=8, base_resolution=2, finest_resolution=8, width=8, geometry=4)


def volume() -> Volume:
    return Volume(np.full((16, 16, 16), 0.3), np.full((16, 16, 16, 3), 0.5))


def voxels() -> VoxelGrid:
    return VoxelGrid(occupancy=np.full((6, 6, 6), 0.3), color=np.full((6, 6, 6, 3), 0.5))


PIXELS = {"rays_per_step": 64, "background": "random"}
FITS = {
    "hash field of random pixels": (hash_field, {"type": "volume", "steps": 16, "jitter": True}, PIXELS),
    "growing volume of random pixels": (
        volume, {"type": "volume", "steps": 16, "jitter": True}, {**PIXELS, "grow": {"thing": (20, 70)}}
    ),
    "voxels, ray by ray": (voxels, {"type": "voxels", "method": "drc"}, PIXELS),
    "voxels, largest samples": (voxels, {"type": "voxels", "method": "ptn"}, {"views_per_step": 2}),
    "voxels as splats": (voxels, {"type": "voxels", "method": "splat"}, {"views_per_step": 2}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FITS)
def test_fifty_steps_and_fifty_more_are_a_hundred(kind, f32, tmp_path):
    make, renderer, options = FITS[kind]
    solid = with_cameras(VoxelGrid(occupancy=np.pad(np.ones((4, 4, 4)), 1), color=np.full((6, 6, 6, 3), 0.7)))
    targets = {}
    for name in solid.cameras:
        targets[name] = str(tmp_path / f"{name}.png")
        tidr.render(solid, name, "voxels").save(targets[name], alpha=True)
    begun = {f"thing.{name}": parameter.numpy() for name, parameter in make().parameters().items()}
    settings = FitSettings(
        targets=targets, parameters=dict.fromkeys(begun, ParameterSettings(lr=1e-2)),
        losses={"mse": 1.0, "alpha_mse": 0.1}, renderer=renderer, steps=STEPS, save_every=1000, **options,
    )  # fmt: skip
    whole = fit_from_settings(with_cameras(make()), settings, tmp_path / "whole")
    fit_from_settings(with_cameras(make()), settings, tmp_path / "parts", steps=STEPS // 2)
    parts = fit_from_settings(with_cameras(make()), settings, tmp_path / "parts", resume=True)
    assert len(whole.losses) == len(parts.losses) == STEPS
    np.testing.assert_array_equal(whole.losses[:, :-1], parts.losses[:, :-1])  # the last column is seconds
    changed = 0
    for path, parameter in whole.scene.parameters(*begun).items():
        np.testing.assert_array_equal(parameter.numpy(), parts.scene.parameters()[path].numpy(), err_msg=path)
        changed += bool((parameter.numpy() != begun[path]).any())
    assert changed >= 2
