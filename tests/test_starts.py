"""Edge treatments judged by where they lead: the way down from random starts, how far each feels, and one small fit."""

from dataclasses import replace

import numpy as np
import pytest

import tidr
from tidr.problems.figures import disc, lone, pictures, quad
from tidr.problems.offsets import treatments
from tidr.problems.runner import problems, solve
from tidr.problems.shapes import PIXELS_PER_UNIT, flat_view

FIGURES = {"disc": (disc, None), "square": (quad, None), "glow": (disc, [1.0] + [0.0] * 48),
           "ramp": (quad, [0.3, 0.9, 0.9, 0.3])}  # 16 pixels wide; the brightness of corners  # fmt: skip
STEP, GAPS = 2.0, (0.5, 1, 2, 4, 8, 12)  # pixels
INSIDE = ("none", "genova", "dibr", "dibr, wide", "soft, sharp", "soft, wide")  # whose colours feel no edge


@pytest.mark.long
@pytest.mark.row(105)
@pytest.mark.parametrize("figure", FIGURES)
def test_gradients_lead_down_from_nine_in_ten_starts(f32, figure):
    """Cosines with differences of 2 pixels; silhouettes by 1 - IoU, colours by squares. Known domains are as known."""
    make, brightness = FIGURES[figure]
    mesh = make(0.25)
    channel, camera = ("rgb" if brightness else "alpha"), flat_view()
    if brightness:
        mesh = tidr.Mesh(mesh.vertices.numpy(), mesh.faces, colors=np.outer(brightness, np.ones(3)))
    scene = lone(mesh, materials=("paint",) if brightness else ())
    scene.add_material("paint", tidr.Material("lambert", albedo="vertex_colors" if brightness else 0.5))
    scene.add_light("sky", tidr.AmbientLight(1.0))
    place, target = scene["shape"].translation, pictures(scene, [camera], channel)[channel]

    def true_loss(pixels) -> float:
        place.set(np.array([*pixels, 0]) / PIXELS_PER_UNIT)
        drawn = pictures(scene, [camera], channel, samples=8)[channel]
        both = drawn * target
        return ((drawn - target) ** 2).mean() if brightness else 1 - both.sum() / (drawn + target - both).sum()

    def gradient(pixels, drawer) -> np.ndarray:
        place.set(np.array([*pixels, 0]) / PIXELS_PER_UNIT)
        with tidr.Tape({"place": place}) as tape:
            image = tidr.render(scene, [camera], replace(drawer, channels=(channel,))).channel(channel)
            tape.add((tidr.losses.mse if brightness else tidr.losses.silhouette)(image, target))
        return place.grad_numpy()[:2].astype(float)

    rng = np.random.default_rng(0)
    angles, far = rng.uniform(0, 2 * np.pi, 40), rng.uniform(1, 12, 40)
    starts = np.stack([np.cos(angles), np.sin(angles)], 1) * far[:, None]
    true = np.array([[true_loss(s + d) - true_loss(s - d) for d in STEP * np.eye(2)] for s in starts])
    for name, drawer in treatments(problems(["T1"])[0].build()).items():
        slopes = np.array([gradient(start, drawer) for start in starts])
        agree, zero = ((slopes * true).sum(1) > 0).mean(), (~slopes.any(1)).mean()
        reach = max((gap for gap in GAPS if gradient((16 + gap, 0), drawer).any()), default=0)
        print(f"{figure} {name}: {agree:.0%} agree, {zero:.0%} without gradient, reach {reach} px")
        if not brightness and name in ("none", "genova"):
            assert (agree, zero, reach) == (0, 1, 0), name
            continue
        assert zero == 0, name
        assert (agree >= 0.9) != (figure == "ramp" and name in INSIDE), name
        if not brightness:  # sqrt(9 sigma) is 5.3 pixels for the wide
            assert reach == 12 if name == "nmr" else reach == 4 if name.endswith("wide") else reach <= 1, name


@pytest.mark.long
@pytest.mark.row(22)
@pytest.mark.parametrize("edges", ["nmr", "soft", "dibr"])
def test_one_interface_fits_the_same_thing(f32, edges):
    """A disc's place from 8 pixels off, by the same call."""
    assert solve(problems(["T1"])[0], edges).solved
