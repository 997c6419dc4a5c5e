"""Makes what `tidr fit caustic` starts from: a flat lens, its frame, and the picture that its light should form.

Run: python scenes/make_caustic.py [RUN]

With the folder of a finished run, draws what became of it instead: the light behind the flat lens, behind the fitted
one, the picture that was asked for, and the relief of the lens.

The picture is the duck's outline with an eye on a faint disc, a little soft because the 32 x 32 heights of the lens
cannot draw sharper edges; all in all it has the light that the flat lens lets through. Linear radiance as .npy in half
precision.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import tidr
from tidr.files.image import linear_to_srgb
from tidr.renderers.photons import PhotonMapper

if not __package__:  # run as a script: let the sibling import below find this folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "scenes"

from .modelling import write_glb
from .picture_sets import averaged

FOLDER = Path(__file__).parent / "assets" / "caustic"
VERTICES = 32  # of the lens, a side
SIZE, OVERSAMPLING = 64, 8  # of the picture
PANEL = 256  # pixels of the panels of a run's figure
SOFTNESS = 1.0  # of the edges: standard deviation in pixels
GROUND, RIM = 0.06, 0.1  # brightness of the disc beside the duck's, and the width on which it fades out
EYE, EYE_RADIUS, EYE_DEPTH = (-0.155, -0.195), 0.03, 0.8  # right of and below the picture's middle, and how dark
OPENING, OUTER, TOP, BOTTOM, SEGMENTS = 0.498, 0.75, 0.12, -0.03, 64  # of the frame: radii, heights, edges around


def surface(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat square of side 1 with count^2 vertices, facing down."""
    steps = np.arange(count) / (count - 1) - 0.5
    z, x = np.meshgrid(steps, steps, indexing="ij")
    index = np.arange(count * count).reshape(count, count)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.stack([x, 0 * x, z], -1).reshape(-1, 3), faces


def frame() -> tuple[np.ndarray, np.ndarray]:
    """A round hole that lets light to the lens, in a disc that covers the rest of it."""
    angles = np.arange(SEGMENTS) * 2 * np.pi / SEGMENTS
    rings = [(OPENING, TOP), (OUTER, TOP), (OUTER, BOTTOM), (OPENING, BOTTOM)]
    around = [np.stack([r * np.sin(angles), np.full(SEGMENTS, y), r * np.cos(angles)], 1) for r, y in rings]
    index = np.arange(4 * SEGMENTS).reshape(4, SEGMENTS)
    across, along = np.roll(index, -1, 0), np.roll(index, -1, 1)
    both = np.roll(across, -1, 1)
    first, second = np.stack([index, across, both], -1), np.stack([index, both, along], -1)
    return np.concatenate(around), np.concatenate([first, second]).reshape(-1, 3)


def outline() -> np.ndarray:
    """[SIZE, SIZE] the share of each pixel that the duck covers, seen from its left side."""
    large = SIZE * OVERSAMPLING
    camera = tidr.Camera.look_at((4, 0, 0), (0, 0, 0), fov_y_degrees=30, width=large, height=large)
    alpha = tidr.render(tidr.load("duck"), camera, tidr.Rasterizer(edges="none")).alpha.numpy()
    return averaged(alpha, OVERSAMPLING)[..., 0]


def softened(picture: np.ndarray) -> np.ndarray:
    """Convolved with a Gaussian."""
    reach = int(4 * SOFTNESS) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / SOFTNESS) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        picture = np.apply_along_axis(np.convolve, axis, np.pad(picture, reach, "edge"), weights, "same")
        picture = picture[reach:-reach, reach:-reach]
    return picture


def shape() -> np.ndarray:
    """[SIZE, SIZE] the picture, up to a factor."""
    steps = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    down, right = np.meshgrid(steps, steps, indexing="ij")
    ground = GROUND * np.clip((0.5 - np.hypot(right, down)) / RIM, 0, 1)
    eye = EYE_DEPTH * (np.hypot(right - EYE[0], down - EYE[1]) < EYE_RADIUS)
    return ground + (1 - ground) * softened(outline() * (1 - eye))


def target(scene: tidr.Scene) -> np.ndarray:
    """[SIZE, SIZE, 3] radiance of the floor."""
    ior, light, albedo = (
        float(parameter.numpy().ravel()[0])
        for parameter in scene.parameters("glass.ior", "sun.irradiance", "ground.albedo").values()
    )
    passed = (1 - ((ior - 1) / (ior + 1)) ** 2) ** 2 * np.pi * OPENING**2  # by the two surfaces, and by the frame
    picture = shape()
    return np.repeat((albedo / np.pi * light * passed / picture.mean() * picture)[..., None], 3, axis=-1)


def relief(scene: tidr.Scene) -> np.ndarray:
    """[PANEL, PANEL, 3] the lower side of the lens turned up, in slanting light."""
    shown = tidr.Scene(tidr.Film(2 * PANEL, 2 * PANEL))
    shown.add_material("grey", tidr.Material("lambert", albedo=(0.55, 0.7, 0.8)))
    shown.add_node("lens", tidr.Node(scene["lens"].geometry, ("grey",), rotation=(0, 1, 0, 0)))
    shown.add_light("key", tidr.DirectionalLight((0.9, -0.3, -0.3), 8.0))
    shown.add_light("sky", tidr.AmbientLight(0.02))
    camera = tidr.Camera.look_at((0, 1.9, 1.1), (0, 0, 0.02), fov_y_degrees=31)
    return averaged(tidr.render(shown, camera, tidr.Rasterizer(edges="none"), 2 * PANEL, 2 * PANEL).rgb.numpy(), 2)


def figure(run: Path) -> None:
    """Writes caustic_fit.webp beside the other pictures of fits."""
    mapper = PhotonMapper(photons=1 << 18, passes=24, radius=0.016, aimed=0.95, max_depth=4)
    flat, bent = tidr.load("caustic"), tidr.load(run / "scene.toml")
    light = [tidr.render(scene, "below", mapper, PANEL, PANEL).rgb.numpy() for scene in (flat, bent)]
    wanted = np.kron(np.load(FOLDER / "floor.npz")["image"].astype(float), np.ones((PANEL // SIZE, PANEL // SIZE, 1)))
    panels = [np.clip(picture, 0, 1) for picture in (*light, wanted, relief(bent))]
    gap = np.ones((PANEL, PANEL // 32, 3))
    strip = [part for panel in panels for part in (panel, gap)][:-1]
    picture = Image.fromarray((linear_to_srgb(np.concatenate(strip, axis=1)) * 255 + 0.5).astype(np.uint8))
    picture.save(FOLDER.parent / "caustic_fit.webp", quality=90, method=6)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_glb(FOLDER / "lens.glb", *surface(VERTICES))
    write_glb(FOLDER / "frame.glb", *frame())
    np.savez_compressed(FOLDER / "floor.npz", image=target(tidr.load("caustic")).astype(np.float16))


if __name__ == "__main__":
    figure(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
