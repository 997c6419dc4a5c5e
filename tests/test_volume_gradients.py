"""Gradients of the volume march to everything that it depends on, against differences."""

import numpy as np
import pytest

import tidr
from tidr import buffer
from tidr.fitting.tape import Loss, Tape
from tidr.renderers.volume import VolumeRenderer

from .gradients import directional_check, weighted
from .test_rays import total
from .volume_scenes import alone, noise

CHANNELS = ("rgb", "alpha", "depth", "distance")
PLACED = {"translation": (0.1, -0.05, 0.1), "rotation": (0.9, 0.1, 0.2, -0.1), "scale": (0.9, 1.1, 1.0)}


def checked(scene, renderer, paths, backend, seed=0, channels=CHANNELS) -> None:
    def loss() -> Loss:
        image = tidr.render(scene, "front", renderer)
        return total([image.channel(name) for name in channels], seed)

    directional_check(loss, list(scene.parameters(*paths).values()), backend, seed)


@pytest.mark.row(27)
@pytest.mark.parametrize(
    ("kind", "activation"),
    [("constant", "none"), ("color", "softplus"), ("sh16", "softplus"), ("sh4", "relu")],
)
def test_grids_and_rays(f64, kind, activation):
    seed = len(kind) + len(activation)
    scene = alone(noise(kind, seed, activation), **PLACED)
    renderer = VolumeRenderer(steps=9, stop=0.0, jitter=True, seed=seed)
    paths = ["cloud.density", "cloud.sh" if kind[:2] == "sh" else "cloud.color"]
    checked(scene, renderer, [*paths, "cloud.translation", "cloud.rotation", "cloud.scale", "front.*"], f64, seed)


@pytest.mark.row(27)
def test_camera_inside_the_box_and_rays_that_stop(f64):
    scene = alone(noise("color", 5), **PLACED)
    scene["front"].position.set([0.3, 0.2, 0.5])
    checked(scene, VolumeRenderer(steps=9, stop=0.0), ["cloud.*", "front.*"], f64)
    scene["cloud"].geometry.density.set(scene["cloud"].geometry.density.numpy() * 6)
    checked(scene, VolumeRenderer(steps=9, stop=0.3), ["cloud.density", "cloud.color"], f64)


def three(activations=("none",) * 3) -> tidr.Scene:
    """Volumes of three kinds in front of each other."""
    scene = alone(noise("color", 1, activations[0]))
    scene.add_node("far", tidr.Node(noise("sh4", 2, activations[1]), translation=(-1.2, -1.0, -2.6)))
    scene.add_node("near", tidr.Node(noise("constant", 4, activations[2]), translation=(0.6, 0.4, 1.5), scale=0.3))
    return scene


def test_three_volumes_in_front_of_each_other(f64):
    paths = ["*.density", "cloud.color", "near.color", "far.sh"]
    checked(three(), VolumeRenderer(steps=8, stop=0.0), paths, f64)


def test_one_cell_and_flat_grids(f64):
    for shape in ((1, 1, 1), (1, 4, 3), (5, 1, 2)):
        scene = alone(noise("color", 6, shape=shape), **PLACED)
        checked(scene, VolumeRenderer(steps=6, stop=0.0), ["cloud.*", "front.position"], f64)


def test_only_what_is_wanted_is_computed(f64):
    scene = alone(noise("color", 7))
    renderer = VolumeRenderer(steps=9)
    everything = {}
    for patterns in (("*",), ("cloud.density",), ("cloud.color",), ("front.position",)):
        wanted = scene.parameters(*patterns)
        with Tape(wanted) as tape:
            tape.add(weighted(tidr.render(scene, "front", renderer).rgb, 1.0))
        found = {path: parameter.grad_numpy() for path, parameter in wanted.items()}
        everything = everything or found
        for path, gradient in found.items():
            assert np.abs(everything[path]).max() > 0
            assert np.allclose(gradient, everything[path], rtol=1e-12, atol=1e-14)


def walked() -> dict[str, np.ndarray]:
    """Gradients of volumes of three kinds, and of one alone, by the parameter's path."""
    found = {}
    for scene in (alone(noise("sh4", 9, "relu"), **PLACED), three(("softplus", "relu", "none"))):
        with Tape() as tape:
            image = tidr.render(scene, "front", VolumeRenderer(steps=9))
            tape.add(weighted(image.rgb, 1.0))
            tape.add(weighted(image.depth, 0.1))
        found |= {f"{len(scene.nodes)} {path}": p.grad_numpy() for path, p in scene.parameters().items()}
    return found


@pytest.fixture
def in_64_bits(f64) -> dict[str, np.ndarray]:
    return walked()


@pytest.mark.row(27)
def test_gpu_steps_agree_with_the_walk(in_64_bits, vulkan):
    """The camera's too: the step that differences need in f32 would move rays over the edges of cells and boxes."""
    found = walked()
    for path, exact in in_64_bits.items():
        assert np.allclose(found[path], exact, rtol=2e-3, atol=2e-3 * np.abs(exact).max()), path


@pytest.mark.row(27)
def test_memory_does_not_grow_with_steps(backend):
    fewer, many = (64, 1024) if backend.arch == "cpu" else (8, 16)

    def allocated(steps: int) -> int:
        """Bytes asked for, whether new or recycled, by a forward and a backward."""
        sizes, make = [], buffer.Buffer.__init__

        def counted(self, *arguments, **options):
            make(self, *arguments, **options)
            sizes.append(self.bytes)

        scene = alone(noise("color", 8), **PLACED)
        buffer.Buffer.__init__ = counted
        try:
            with Tape() as tape:
                tape.add(weighted(tidr.render(scene, "front", VolumeRenderer(steps=steps)).rgb, 1.0))
        finally:
            buffer.Buffer.__init__ = make
        return sum(sizes)

    few = allocated(fewer)
    assert few > 0
    assert allocated(many) <= 1.01 * few
