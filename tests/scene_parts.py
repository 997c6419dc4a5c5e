"""A scene file that uses every key, and the files that it refers to."""

from pathlib import Path

import numpy as np
import pytest

from tidr.errors import FileError
from tidr.files.image import write_image
from tidr.files.scene_file import load_scene

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n"
TRANSFORMS = """{"camera_angle_x": 0.7, "w": 8, "h": 6, "frames": [
 {"file_path": "a", "transform_matrix": [[1,0,0,0.5],[0,1,0,0],[0,0,1,4],[0,0,0,1]]},
 {"file_path": "b", "transform_matrix": [[1,0,0,0],[0,1,0,0.25],[0,0,1,4],[0,0,0,1]]}]}"""
FULL = """
up = "y"
description = "all keys"
[film]
width = 16
height = 12
background = [0.1, 0.2, 0.3]
[cameras.front]
type = "perspective"
position = [0, 0, 4]
target = [0, 0, 0]
up = [0, 1, 0]
fov_y_degrees = 40
near = 0.1
far = 100
[cameras.flat]
type = "orthographic"
camera_to_world = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4]]
height = 3.0
resolution = [10, 20]
[cameras.rig]
from = "transforms.json"
[cameras.raw]
position = [0, 0, 4]
target = [0, 0, 0]
focal = [20, 21]
principal_point = [7, 6]
[materials.paint]
type = "lambert"
albedo = { texture = "paint.png", wrap = "clamp", filter = "trilinear" }
[materials.metal]
type = "metallic_roughness"
albedo = [0.5, 0.4, 0.3]
roughness = { texture = "paint.png" }
metallic = 0.5
[materials.ring]
type = "conductor"
preset = "gold"
roughness = 0.2
[materials.lamp]
type = "dielectric"
ior = 1.4
emission = [1, 2, 30]
opacity = 0.5
normal = { texture = "paint.png", filter = "trilinear" }
[materials.mixed]
type = "blend"
first = "ring"
second = "lamp"
weight = { texture = "paint.png" }
[lights.key]
type = "directional"
direction = [-0.3, -0.5, -1.0]
irradiance = [2, 2, 2]
angular_diameter_degrees = 0.5
[lights.bulb]
type = "point"
position = [1, 1, 1]
intensity = 3.0
[lights.torch]
type = "spot"
position = [1, 2, 1]
direction = [0, -1, 0]
intensity = [3, 2, 1]
cutoff_degrees = 30
falloff_degrees = 10
[lights.sky]
type = "ambient"
radiance = 0.5
[nodes.table]
translation = [0, 1, 0]
[nodes.duck]
mesh = "duck.obj"
material = "paint"
parent = "table"
translation = [1, 0, 0]
rotation_degrees = [0, 90, 0]
scale = 2.0
shading = "flat"
[nodes.twin]
instance_of = "duck"
material = ["metal"]
quaternion = [2, 0, 0, 0]
scale = [1, 2, 3]
[fit]
views = "transforms.json"
start = { duck = "sphere", twin = { shape = "sphere", resolution = 8, centre = [0, 0, 0] } }
losses = { mse = 1.0, silhouette = 0.5 }
renderer = { type = "raster", edges = "antialias" }
steps = 5
views_per_step = 2
seed = 3
[fit.parameters]
"duck.vertices" = { lr = 1e-2, optimizer = "large_steps" }
"paint.albedo" = { lr = 0.02, clamp = [0, 1] }
"""


def make_parts(folder: Path) -> Path:
    """A folder `home` in `folder` with everything that FULL names."""
    home = folder / "home"
    home.mkdir()
    (home / "duck.obj").write_text(TRIANGLE)
    (home / "transforms.json").write_text(TRANSFORMS)
    for name in ("a.png", "b.png", "paint.png"):
        write_image(home / name, np.full((6, 8, 3), 0.5))
    return home


def write(folder: Path, text: str | bytes, name: str = "scene.toml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def message(path: Path, overrides=()) -> str:
    """What the error says that loading must end in."""
    with pytest.raises(FileError) as caught:
        load_scene(path, overrides)
    return str(caught.value)
