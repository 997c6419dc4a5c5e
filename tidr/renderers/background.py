"""What stands behind a scene: its environment light, else the film's background.

A renderer draws over `constant_color(scene)` and puts the picture `before_environment`. Where the scene has no
environment light that changes nothing and costs nothing.
"""

from collections.abc import Callable

from tidr import runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.tape import Operation, needs, run
from tidr.kernels import accumulate
from tidr.kernels import environment as kernels
from tidr.kernels.texture import scratch_rows
from tidr.scene.graph import Scene
from tidr.scene.light import EnvironmentLight

from .rays import Rays

PRIVATE = 1 << 20  # numbers in the private copies of a map's gradient on a GPU, at most; atomics beyond


def constant_color(scene: Scene) -> tuple[float, float, float] | None:
    """The linear RGB to draw over: the film's; None (nothing) where that is None or an environment light follows."""
    return None if scene.environment is not None else scene.film.background


def before_environment(
    scene: Scene, rgb: Array, covered: Callable[[], Array], rays: Callable[[], Rays], clear: bool = False
) -> Array:
    """The picture rgb [..., 3], drawn over nothing, in front of the scene's environment: rgb + (1 - covered) radiance.

    It is rgb itself where the scene has none.

    Args:
        covered: makes alpha [n, 1]; with `clear` what of each ray goes through, 1 - alpha.
        rays: makes the n rays through the picture's pixels, in the world.
    """
    light = scene.environment
    if light is None:
        return rgb
    out, share, far = Array(rgb.shape), covered(), environment_radiance(light, rays())

    def forward() -> None:
        kernels.behind(out.rows, rgb.value, share.value, far.value, out.value, clear)

    def backward() -> None:
        kernels.behind_adjoint(
            out.rows, share.value, far.value, out.grad, rgb.grad, share.grad, far.grad, clear
        )  # fmt: skip

    run(Operation(forward, backward, [rgb, share, far], [out], "environment behind"))
    return out


def environment_radiance(light: EnvironmentLight, rays: Rays) -> Array:
    """[n, 3] radiance that the light sends along each ray from far away, towards its origin."""
    texels, angle, directions, count = light.radiance, light.rotation, rays.directions, rays.count
    height, width = texels.shape[:2] if len(texels.shape) == 3 else (1, 1)
    out = Array((count, 3))

    def forward() -> None:
        kernels.radiance(count, height, width, texels.value, angle.value, directions.value, out.value)

    def backward() -> None:
        if needs(texels):
            _to_texels(texels, (count, height, width, angle.value, directions.value, out.grad))
        if needs(directions) or needs(angle):
            chunks = runtime.reduction_chunks()
            part = Buffer((chunks,))
            kernels.to_directions(
                chunks, count, height, width, texels.value, angle.value, directions.value, out.grad, directions.grad,
                part.ndarray, runtime.chunk_block(),
            )  # fmt: skip
            if needs(angle):
                accumulate.collect(chunks, 1, 1, part.ndarray, angle.grad)

    run(Operation(forward, backward, [texels, angle, directions], [out], "environment"))
    return out


def _to_texels(texels: Array, looked_up: tuple) -> None:
    """Add to the texels' gradient: over private copies on a CPU and for a small map, by atomics on a GPU else."""
    chunks = runtime.reduction_chunks()
    if runtime.on_cpu():
        chunks = scratch_rows(chunks, texels.rows, 3)
    elif chunks * texels.rows * 3 > PRIVATE:
        chunks = 0
    part = Buffer((max(chunks, 1) * texels.rows * 3,))
    if chunks:
        kernels.to_texels(chunks, *looked_up, part.ndarray, runtime.chunk_block())
    else:
        part.ndarray.fill(0.0)
        kernels.to_texels_atomic(*looked_up, part.ndarray)
    accumulate.collect(max(chunks, 1), texels.rows, 3, part.ndarray, texels.grad)
