"""A small thing to fit, for the tests of the loop, its checkpoints and its command."""

import json
from pathlib import Path

import numpy as np

import tidr
from tidr.files.image import write_image
from tidr.fitting.settings import FitSettings, ParameterSettings, StartSettings
from tidr.fitting.views import Views

SIDE, VIEWS = 32, 6


def toy_scene(radius: float = 0.7, colour=(0.8, 0.3, 0.2), level: int = 2) -> tidr.Scene:
    """An egg of one colour, lit from above."""
    scene = tidr.Scene(tidr.Film(SIDE, SIDE))
    scene.add_material("paint", tidr.Material("lambert", albedo=colour))
    vertices, faces = tidr.icosphere(level)
    scene.add_node("ball", tidr.Node(tidr.Mesh(vertices * [radius, 1.3 * radius, radius], faces), ("paint",)))
    scene.add_light("sky", tidr.AmbientLight(0.6))
    scene.add_light("key", tidr.DirectionalLight((-0.3, -1.0, -0.4), 1.0))
    return scene


def toy_cameras() -> list[tidr.Camera]:
    return tidr.sphere_views(VIEWS, 4.0, fov_y_degrees=40, width=SIDE, height=SIDE)


def toy_pictures() -> list[np.ndarray]:
    """What the fits of these tests should come to: [H, W, 4], straight alpha."""
    image = tidr.render(toy_scene(), toy_cameras())
    rgb, alpha = image.rgb.numpy(), image.alpha.numpy()
    return list(np.concatenate([np.where(alpha > 0, rgb / np.maximum(alpha, 1e-3), 0), alpha], -1))


def toy_views() -> Views:
    return Views(toy_cameras(), toy_pictures())


def toy_settings(folder: Path, **changes) -> FitSettings:
    """Settings of a fit from a sphere; the views are written to `folder`."""
    values: dict = {
        "views": str(write_views(folder)),
        "start": {"ball": StartSettings(resolution=5, texture=32)},
        "parameters": {
            "ball.vertices": ParameterSettings(lr=0.1, optimizer="large_steps", smoothness=5.0),
            "paint.albedo": ParameterSettings(lr=5e-2, clamp=(0.0, 1.0)),
        },
        "losses": {"mse": 1.0, "alpha_mse": 1.0, "normal_consistency": 0.01},
        "steps": 60,
        "views_per_step": 2,
        "hold_out": 3,
    }
    return FitSettings(**(values | changes))


def write_views(folder: Path) -> Path:
    """The toy's pictures and their transforms.json."""
    frames = []
    for number, (camera, picture) in enumerate(zip(toy_cameras(), toy_pictures(), strict=True)):
        write_image(folder / f"view_{number}.png", picture)
        frames.append({"file_path": f"view_{number}.png", "transform_matrix": camera.camera_to_world.tolist()})
    focal = float(toy_cameras()[0].focal.numpy()[0])
    path = folder / "transforms.json"
    path.write_text(json.dumps({"fl_x": focal, "fl_y": focal, "w": SIDE, "h": SIDE, "frames": frames}))
    return path


def write_toy(folder: Path, steps: int = 40) -> Path:
    """A scene file whose fit starts from a sphere, with its pictures."""
    write_views(folder)
    path = folder / "toy.toml"
    path.write_text(
        f"""
[film]
width = {SIDE}
height = {SIDE}
[materials.paint]
type = "lambert"
[lights.sky]
type = "ambient"
radiance = 0.6
[lights.key]
type = "directional"
direction = [-0.3, -1.0, -0.4]
irradiance = 1.0
[nodes.ball]
material = "paint"
[fit]
views = "transforms.json"
start = {{ ball = {{ shape = "sphere", resolution = 5, texture = 32 }} }}
losses = {{ mse = 1.0, alpha_mse = 1.0 }}
steps = {steps}
views_per_step = 2
hold_out = 3
save_every = 10
[fit.parameters."ball.vertices"]
lr = 0.1
optimizer = "large_steps"
smoothness = 5.0
[fit.parameters."paint.albedo"]
lr = 5e-2
clamp = [0.0, 1.0]
"""
    )
    return path


def write_field_toy(folder: Path, steps: int = 40) -> Path:
    """A scene file whose fit finds the toy as a hash-grid field, from random pixels of its pictures."""
    write_views(folder)
    path = folder / "field.toml"
    path.write_text(
        f"""
[film]
width = {SIDE}
height = {SIDE}
[nodes.ball]
field = {{ type = "hash", levels = 3, log2_entries = 8, finest_resolution = 16 }}
[fit]
views = "transforms.json"
start = {{ ball = "box" }}
background = "random"
rays_per_step = 128
losses = {{ mse = 1.0, alpha_mse = 0.1 }}
renderer = {{ type = "volume", steps = 24, jitter = true }}
steps = {steps}
hold_out = 3
[fit.parameters."ball.*"]
lr = 1e-2
"""
    )
    return path
