"""Lens: T16 field of view and radial distortion. Aperture and focus blur pictures of `tidr.PathTracer` only."""

import numpy as np

from tidr.fitting.optimizers import Adam, Optimizers
from tidr.parameter import Constraint
from tidr.scene.camera import Camera

from .depth import ASTRAY, bumpy, painted
from .figures import pictures
from .runner import SIZE, Problem, Softness, Task

OFF = 1.1


def wrong_lens() -> Task:
    """A painted plane with bumps by a camera whose focal length and radial coefficient are both a tenth too large."""
    scene = painted(bumpy(2.2, 64))
    lens = Camera.look_at((0.3, -0.2, 2.0), (0, 0, 0), fov_y_degrees=60, width=SIZE, height=SIZE, distortion=[-0.25])
    scene.add_camera("view", lens)
    targets = pictures(scene, [lens], "rgb")
    assert lens.distortion is not None
    lens.distortion.constraint = Constraint(channels=(0,))
    held = {parameter: parameter.numpy().astype(float) for parameter in (lens.focal, lens.distortion)}
    for parameter, true in held.items():
        parameter.set(OFF * true)

    def error() -> float:
        return 100 * max(float(np.linalg.norm(p.numpy() - true) / np.linalg.norm(true)) for p, true in held.items())

    return Task(
        scene=scene,
        cameras=[lens],
        targets=targets,
        optimizer=Optimizers([Adam(lens.focal, lr=0.2), Adam(lens.distortion, lr=5e-3)]),
        error=error,
        softness=Softness(sigma=(1e-5, 1e-5)),
    )


PROBLEMS = (
    Problem(
        name="T16",
        title="field of view and radial k, 10 % off (aperture and focus: path tracer only)",
        measure="percent, worst of focal length and k",
        threshold=1.0,
        build=wrong_lens,
        known=dict.fromkeys(("nmr", "nmr_local"), ASTRAY),
        shown=("view.focal", 0),
    ),
)
