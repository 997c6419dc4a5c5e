"""Scenes with an environment light, one for every renderer that shows what stands behind."""

import numpy as np

import tidr
from tidr.scene.transform import quaternion_from_euler, rotation_from_quaternion
from tidr.scene.voxels import cell_centers

from .volume_scenes import noise
from .voxel_scenes import cloud

SIZE = 8
RENDERERS = {
    "raster none": tidr.Rasterizer(edges="none"),
    "raster antialias": tidr.Rasterizer(edges="antialias"),
    "raster soft": tidr.Rasterizer(edges="soft", sigma=2e-2, gamma=1e-2, depth_range=(1.0, 6.0)),
    "volume": tidr.VolumeRenderer(steps=9, stop=0.0),
    "medium": tidr.VolumeRenderer(steps=9, stop=0.0, light_nodes=4, light_steps=4),
    "field": tidr.VolumeRenderer(steps=9, stop=0.0),
    "drc": tidr.VoxelRenderer(method="drc"),
    "emission_absorption": tidr.VoxelRenderer(method="emission_absorption", density_scale=0.5),
    "splat": tidr.VoxelRenderer(method="splat"),
    "level_set": tidr.LevelSetRenderer(),
    "sdf": tidr.VoxelRenderer(method="sdf"),
    "neus": tidr.NeusRenderer(steps=24),
}
LIT = ("raster none", "raster antialias", "raster soft", "level_set", "sdf")  # what local shading colours


def sky(seed: int = 0, shape=(5, 7), rotation: float = 0.4) -> tidr.EnvironmentLight:
    """Random radiance, some of it above 1."""
    return tidr.EnvironmentLight(np.random.default_rng(seed).uniform(0.1, 2.0, (*shape, 3)), rotation)


def shape(kind: str, seed: int = 0):
    """A geometry of about unit size that the renderer of that name draws, not opaque where it can be so."""
    centers = cell_centers((8, 8, 8))
    distance = np.linalg.norm(centers * (1, 1.2, 0.9), axis=-1) - 0.8
    if kind.startswith("raster"):
        vertices, faces = tidr.icosphere(1)
        turn = rotation_from_quaternion(quaternion_from_euler((10, 20, 30)))  # no triangle faces straight up
        return tidr.Mesh(vertices @ turn, faces)
    if kind in ("level_set", "sdf"):
        return tidr.VoxelGrid(sdf=distance, color=np.full((8, 8, 8, 3), (0.3, 0.7, 0.5)))
    if kind == "neus":
        distance += 0.05 * np.random.default_rng(seed).normal(size=distance.shape)
        return tidr.NeusGrid(distance, color=np.full((8, 8, 8, 3), (0.3, 0.7, 0.5)), inverse_std=8.0)
    if kind == "field":
        return tidr.FrequencyField(width=8, depth=2, octaves=2, direction_octaves=1, fine_samples=8, seed=seed)
    if kind == "medium":
        rng = np.random.default_rng(seed)
        return tidr.Volume(
            rng.uniform(0.1, 1.0, (4, 5, 6)), albedo=(0.7, 0.6, 0.5), lower=(-0.6,) * 3, upper=(0.6,) * 3
        )
    if kind == "volume":
        return noise("color", seed)
    return cloud(seed, border=0.3)  # where cells are empty, some methods have a kink


def scene_of(kind: str, light: tidr.EnvironmentLight | None, seed: int = 0, background=(0, 0, 0)) -> tidr.Scene:
    """The shape under a lamp in front of the light, seen by the camera "front"; corners of the picture miss it."""
    scene = tidr.Scene(tidr.Film(SIZE, SIZE, background))
    scene.add_node("thing", tidr.Node(shape(kind, seed)))
    scene.add_light("lamp", tidr.DirectionalLight((-0.4, -0.6, -1.0), 2.0))
    if light is not None:
        scene.add_light("sky", light)
    view = {"fov_y_degrees": 62, "width": SIZE, "height": SIZE}
    scene.add_camera("front", tidr.Camera.look_at((0.6, 0.8, 2.9), (0.02, 0.01, 0.03), **view))
    return scene
