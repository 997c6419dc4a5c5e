"""Two ways to one picture: paths from the camera and photons from the lights, on six scenes.

Patches of the pictures agree within three standard errors, which independent seeds give, and a budget for what the
photons' kernel blurs; less of that is left in the mean of the picture, and so the budget is smaller there. What one of
the scenes is made of is never NaN.
"""

import functools

import numpy as np
import pytest

import tidr
from tidr.renderers.path import PathTracer
from tidr.renderers.photons import PhotonMapper
from tidr.scene.camera import Camera
from tidr.scene.graph import Node, Scene
from tidr.scene.light import DirectionalLight, EnvironmentLight, PointLight, SpotLight
from tidr.scene.material import Material
from tidr.scene.mesh import Mesh, icosphere
from tidr.scene.texture import Texture

from .nan_values import is_refused
from .path_scenes import quad

SIZE, PATCH, SEEDS, PASSES = 24, 6, 10, 10
BLURRED, BLURRED_MEAN = 0.02, 0.006  # of a patch, and of the whole picture: the budget for the kernel
POWER = 0.06  # a difference of so much in the whole picture is always found


def matter() -> dict[str, Material]:
    return {
        "grey": Material("lambert", albedo=[0.7, 0.6, 0.5]),
        "red": Material("lambert", albedo=[0.6, 0.2, 0.1]),
        "silver": Material("conductor", eta=[0.2, 0.9, 1.1], k=[3.9, 2.4, 2.2]),
        "copper": Material("conductor", preset="copper", roughness=0.5),
        "glass": Material("dielectric", ior=1.5),
        "varnish": Material("plastic", albedo=[0.3, 0.5, 0.2], ior=1.5),
        "satin": Material("plastic", albedo=[0.6, 0.5, 0.2], ior=1.6, roughness=0.3),
        "gauze": Material("lambert", albedo=0.4, opacity=0.4),
        "mixed": Material("blend", first="grey", second="silver", weight=0.4),
    }


def noise(seed, low, high, channels=3) -> Texture:
    return Texture(np.random.default_rng(seed).uniform(low, high, (4, 4, channels)))


def tiled(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices.numpy(), mesh.faces, uvs=[[0, 0], [1, 0], [1, 1], [0, 1]], shading="flat")


def ball(center, radius, level=2, shading="flat") -> Mesh:
    vertices, faces = icosphere(level)
    return Mesh(vertices * radius + np.asarray(center), faces, shading=shading)


def stocked(scene: Scene, glow=1.0) -> Scene:
    """The scene with all materials and a dark light of every kind, so that kernels are compiled once for all scenes.

    A speck on the floor is said to be of all materials; what mirrors or refracts among them attracts photons.
    """
    for name, material in matter().items():
        if name not in scene.materials:
            scene.add_material(name, material)
    bumps = Texture(np.random.default_rng(1).uniform(0.4, 0.6, (4, 4, 3)) * (1, 1, 0) + (0, 0, 0.95))
    lacquer = {"albedo": noise(2, 0.2, 0.9), "roughness": noise(3, 0.3, 0.7, 1), "normal": bumps}
    scene.add_material("lacquer", Material("plastic", **lacquer))
    scene.add_material("lamp", Material("lambert", albedo=0.3, emission=glow))
    speck = 1e-4 * np.eye(3) + (0, 1e-3, 0)
    scene.add_node("speck", Node(Mesh(speck, [[0, 1, 2]], shading="flat"), tuple(scene.materials)))
    for name, light in (
        ("bulb", PointLight((0, 1, 0), 0.0)), ("spot", SpotLight((0, 1, 0), (0, -1, 0), 0.0, 1.0)),
        ("sun", DirectionalLight((0, -1, 0), 0.0, np.radians(5.0))), ("sky", EnvironmentLight(np.zeros((2, 4, 3)))),
    ):  # fmt: skip
        if name not in scene.lights:
            scene.add_light(name, light)
    return scene


def open_room(lamp=8.0, **materials) -> Scene:
    """A floor two units wide, walls behind and on the left, a lamp above; materials by the node's name."""
    scene = stocked(Scene(), lamp)
    for name, mesh in {
        "floor": quad(half=1.0), "back": quad((0, 1, -1), 1.0, axis=2), "left": quad((-1, 1, 0), 1.0, axis=0),
        "panel": quad((0.2, 1.9, 0.1), 0.4, sign=-1),
    }.items():  # fmt: skip
        scene.add_node(name, Node(tiled(mesh), (materials.get(name, "lamp" if name == "panel" else "grey"),)))
    return scene


def view(position=(0.4, 1.3, 2.9), target=(-0.1, 0.6, -0.2), fov_y_degrees=40, aperture=0.0, focus=3.0) -> Camera:
    lens = {"aperture_radius": aperture, "focus_distance": focus}
    return Camera.look_at(position, target, fov_y_degrees=fov_y_degrees, **lens)


def cornell() -> tuple[Scene, Camera]:
    """The bundled box: walls of two colours, two blocks, a lamp."""
    return stocked(tidr.load("cornell")), view((0, -0.2, 3.9), (0, -0.35, 0), 25)


def caustic() -> tuple[Scene, Camera]:
    """A glass ball in the light of a lamp, whose light the floor, the walls and the ball itself show."""
    scene = open_room()
    scene.add_node("ball", Node(ball((0.1, 0.55, 0), 0.45), ("glass",)))
    return scene, view()


def metal() -> tuple[Scene, Camera]:
    """A mirror on the left, a rough one behind, a rough ball."""
    scene = open_room(left="silver", back="copper")
    scene.add_node("ball", Node(ball((0.2, 0.4, 0), 0.4, shading="smooth"), ("copper",)))
    return scene, view()


def coats() -> tuple[Scene, Camera]:
    """What has a coat: smooth and rough plastic, and a wall with textures of colour, roughness and bumps."""
    scene = open_room(floor="satin", back="lacquer", left="varnish")
    scene.add_node("ball", Node(ball((0.2, 0.4, 0), 0.4, shading="smooth"), ("varnish",)))
    return scene, view()


def outdoors() -> tuple[Scene, Camera]:
    """A sky with a bright patch, a sun, a spot and a bulb, and a varnished ball; no lamp but a weak one."""
    scene = open_room(lamp=0.5, left="red")
    sky = np.random.default_rng(4).uniform(0.1, 0.6, (8, 16, 3))
    sky[2, 9] = 8.0
    for name, light in (
        ("bulb", PointLight((-0.6, 0.5, 0.4), (0.3, 0.4, 0.3))), ("sky", EnvironmentLight(sky, 0.4)),
        ("spot", SpotLight((0.8, 1.6, 0.8), (-0.7, -1, -0.8), (3.0, 2.0, 2.0), 0.5, 0.2)),
        ("sun", DirectionalLight((-0.3, -1, -0.5), (1.0, 0.9, 0.7), np.radians(8.0))),
    ):  # fmt: skip
        scene.lights[name] = light
    scene.add_node("ball", Node(ball((0.2, 0.45, 0), 0.4), ("varnish",)))
    return scene, view()


def blurred() -> tuple[Scene, Camera]:
    """Through a wide lens: a wall half mirror, half grey, and a veil that is half clear before and behind the focus."""
    scene = open_room(back="mixed", left="red")
    scene.add_node("veil", Node(tiled(quad((0.1, 0.6, 0.3), 0.5, axis=2)), ("gauze",)))
    scene.add_node("ball", Node(ball((0.3, 0.3, -0.3), 0.3), ("mixed",)))
    return scene, view(aperture=0.15, focus=2.8)


SCENES = {
    # photons in a pass, radius in world units, samples of a path tracer's pixel
    cornell: (10_000, 0.05, 32),
    caustic: (10_000, 0.05, 200),
    metal: (10_000, 0.06, 100),
    coats: (10_000, 0.06, 64),
    outdoors: (10_000, 0.06, 100),
    blurred: (10_000, 0.06, 64),
}


def patches(scene, camera, renderer) -> np.ndarray:
    rgb = tidr.render(scene, camera=camera, renderer=renderer, width=SIZE, height=SIZE).rgb.numpy().astype(np.float64)
    return rgb.reshape(SIZE // PATCH, PATCH, SIZE // PATCH, PATCH, 3).mean((1, 3))


def replicates(draw) -> tuple[np.ndarray, np.ndarray]:
    """(mean, standard error) over independent seeds of patches [4, 4, 3], a fifth one being the whole picture."""
    found = np.stack([draw(seed) for seed in range(SEEDS)])
    found = np.concatenate([found.reshape(SEEDS, -1, 3), found.mean((1, 2))[:, None]], 1)
    return found.mean(0), found.std(0, ddof=1) / np.sqrt(SEEDS)


@functools.cache
def traced(make) -> tuple[np.ndarray, np.ndarray]:
    """Replicates by paths."""
    (scene, camera), samples = make(), SCENES[make][2]
    return replicates(lambda seed: patches(scene, camera, PathTracer(seed=100 + seed, samples=samples, max_depth=48)))


LONG = (pytest.mark.row(51), pytest.mark.long)
CASES = [
    pytest.param(make, "progressive", marks=LONG if make in (cornell, caustic) else LONG[:1], id=make.__name__)
    for make in SCENES
]
CASES += [
    pytest.param(make, "sppm", marks=pytest.mark.row(52), id=f"{make.__name__}, sppm") for make in (metal, blurred)
]


@pytest.mark.parametrize(("make", "method"), CASES)
def test_paths_and_photons_make_the_same_picture(f64, make, method):
    (scene, camera), (photons, radius, _) = make(), SCENES[make]
    mapped = {"photons": photons, "passes": PASSES, "radius": radius, "max_depth": 32, "roulette_depth": 4}
    seen, error = replicates(lambda seed: patches(scene, camera, PhotonMapper(seed=seed, method=method, **mapped)))
    truth, noise = traced(make)
    both = np.hypot(error, noise)
    budget = np.where(np.arange(len(truth))[:, None] < len(truth) - 1, BLURRED, BLURRED_MEAN) * truth
    off = np.abs(seen - truth) / (3 * both + budget)
    assert (off < 1).all(), f"patch {np.unravel_index(off.argmax(), off.shape)}: {off.max():.2f} of what is allowed"
    assert (3 * both[-1] + budget[-1] < POWER * truth[-1]).all()


@pytest.mark.parametrize("kind", ["path", "photons"])
def test_a_nan_in_geometry_textures_and_lights_is_refused(f64, kind):
    renderer = PathTracer(samples=2) if kind == "path" else PhotonMapper(photons=1000, passes=1, radius=0.1)
    scene, camera = outdoors()
    leaf = Mesh([[0, 1, 0], [0.1, 1, 0], [0, 1.1, 0]], [[0, 1, 2]], normals=[[0, 0, 1.0]], normal_faces=[[0, 0, 0]])
    scene.add_node("leaf", Node(leaf, ("grey",)))
    paths = ["leaf.vertices", "leaf.normals", "back.uvs", "mixed.weight", "gauze.opacity", "lamp.emission"]
    paths += [f"lacquer.{slot}" for slot in ("albedo", "roughness", "normal")]
    paths += [path for path in scene.parameters() if path.startswith(("spot.", "sun.", "sky.", "bulb."))]
    is_refused(scene, camera, renderer, paths)
