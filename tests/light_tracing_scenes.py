"""A scene for light tracing whose every view a path tracer draws as well."""

import numpy as np

import tidr
from tidr.renderers.light_tracing import LightTracer
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.light import DirectionalLight, EnvironmentLight, SpotLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.meter import IrradianceMeter
from tidr.scene.texture import Texture

from .gradients import weighted
from .photon_stage import quad, stage


def hall() -> Scene:
    """A chequered floor with a glass ball's caustic, a wall of brushed metal, a pane that half of the light passes, a
    panel above and a dim sky; a spot and a sun that are out."""
    scene = Scene()
    tiles = np.array([[[0.7, 0.6, 0.5], [0.5, 0.6, 0.7]], [[0.5, 0.6, 0.7], [0.7, 0.6, 0.5]]])
    scene.add_material("white", Material("lambert", albedo=Texture(tiles)))
    scene.add_material("brushed", Material("conductor", eta=[0.2, 0.9, 1.1], k=[3.9, 2.4, 2.2], roughness=0.5))
    scene.add_material("glass", Material("dielectric", ior=1.5))
    scene.add_material("veil", Material("lambert", albedo=[0.2, 0.5, 0.3], opacity=0.5))
    scene.add_material("glow", Material("lambert", albedo=0.3, emission=[6.0, 5.0, 4.0]))
    floor = quad([0, 0, 0], [0.1, 0.05, 2], [2, 0.07, 0])
    floor = Mesh(floor.vertices.numpy(), floor.faces, uvs=[[0, 0], [1, 0], [1, 1], [0, 1]], shading="flat")
    scene.add_node("floor", Node(floor, ("white",)))
    scene.add_node("wall", Node(quad([0, 1, -1.6], [2, 0.1, 0.1], [0.1, 1.2, -0.1]), ("brushed",)))
    scene.add_node("ball", Node(Mesh(*icosphere(2)), ("glass",), translation=[0.7, 0.9, 0.4], scale=0.45))
    scene.add_node("card", Node(quad([-0.9, 0.6, 0.2], [0.4, 0, 0], [0, 0.4, 0.1]), ("veil",)))
    scene.add_node("panel", Node(quad([0.4, 2.6, 0.3], [0.6, 0, 0.05], [0, 0.02, 0.6]), ("glow",)))
    scene.add_light("sky", EnvironmentLight([0.1, 0.15, 0.2]))
    scene.add_light("spot", SpotLight((0, 2, 0), (0, -1, 0), 0.0, 1.0))
    scene.add_light("sun", DirectionalLight((0, -1, 0), 0.0, np.radians(5.0)))
    return scene


def views() -> list[Camera]:
    """The wall and the panel by a thin lens, the veil before floor and sky, and the caustic from straight above, under
    the ball: no glass."""
    lens = Camera.look_at([-0.9, 1.9, 1.8], [-0.4, 1.4, -1.4], fov_y_degrees=46, width=16, height=16,
                          aperture_radius=0.1, focus_distance=2.0)  # fmt: skip
    veil = Camera.look_at([-1.0, 1.2, 2.4], [-0.9, 0.5, 0.2], fov_y_degrees=24, width=16, height=16)
    return [lens, veil]


def agree(ones: np.ndarray, others: np.ndarray) -> None:
    """Pictures [N, ..., C] of equal mean: z-scores of single pixels spread as they should, and so does their sum.

    Errors below 0.2 % of the mean count as that much: what is rarely met says little of its own spread.
    """
    error = np.sqrt(ones.var(0, ddof=1) / len(ones) + others.var(0, ddof=1) / len(others))
    z = (ones.mean(0) - others.mean(0)) / np.maximum(error, 2e-3 * others.mean())
    assert np.sqrt((z**2).mean()) < 1.4, np.sqrt((z**2).mean())
    assert np.abs(z).max() < 6.0, np.abs(z).max()
    totals = ones.sum(tuple(range(1, ones.ndim - 1))), others.sum(tuple(range(1, others.ndim - 1)))
    spread = np.sqrt(sum(total.var(0, ddof=1) / len(total) for total in totals))
    assert (np.abs(totals[0].mean(0) - totals[1].mean(0)) < 3.0 * spread).all(), (totals, spread)


def moving(bulb=0.0, panel=0.0, board=-80.0) -> Scene:
    """The stage with a see-through pane and a shiny board, both but where `board` says far below."""
    scene = stage(bulb, panel)
    scene.add_material("veil", Material("lambert", albedo=0.0, opacity=0.25))
    scene.add_material("shine", Material("blinn_phong", albedo=[0.2, 0.3, 0.4], specular=0.4, shininess=9.0))
    scene.add_node("pane", Node(quad([0, -80, 0], [0, 0, 1], [1, 0, 0]), ("veil",)))
    scene.add_node("board", Node(quad([0, board, 0], [0.1, 0.3, 1], [1, 0.1, 0]), ("shine",)))
    return scene


def sensors() -> list[Camera | IrradianceMeter]:
    """A camera with a lens, a parallel one, and a meter."""
    return [
        Camera.look_at([0.3, 2.2, 3.6], [-0.1, 0.5, 0], fov_y_degrees=50, aperture_radius=0.2, focus_distance=3.0),
        Camera.look_at([0.3, 2.4, 3.6], [-0.1, 0.5, 0], height_world=3.0),
        IrradianceMeter((-0.2, 0.9, 0.9), (0.2, 0.5, -0.6)),
    ]


def loss_of(scene: Scene, cameras, weights=None, **settings):
    """A function that draws the pictures and weighs all that is in them, at random if not told how."""
    made = {"particles": 1000, "max_depth": 6, "roulette_depth": 99, "aimed": 0.0, "independent_gradient": False}
    tracer = LightTracer(**(made | settings))
    if weights is None:
        weights = np.random.default_rng(0).normal(size=(len(cameras), 12, 12, 3))
    return lambda: weighted(tidr.render(scene, camera=cameras, renderer=tracer, width=12, height=12).rgb, weights)
