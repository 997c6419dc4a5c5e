"""What belongs to fits of volumes beside comparing pictures."""

from tidr.kernels.field import losses as kernels

from ..buffer import Buffer
from ..errors import SceneError
from .tape import Loss, Operation, run
from .totals import Total


def spread(image) -> Loss:
    """Mean over rays of sum over i < j of w_i w_j (t_i - t_j)^2, squared world units, w the weights of a ray's samples.

    It draws what a ray sees together into one surface, and takes away what floats before it: the distortion loss of
    Barron et al. 2022, "Mip-NeRF 360", with squared distances.

    Raises:
        SceneError: the image has no channel "spread": only fields have it, one of them in the scene.
    """
    if "spread" not in image.channels:
        mend = "draw one hash-grid or frequency field with the volume renderer, or leave this loss out"
        raise SceneError("losses.spread", "the image has no channel spread", mend)
    rays = image.channel("spread")
    total, terms = Total(rays.rows), Buffer((rays.rows,))

    def forward() -> None:
        kernels.terms(rays.rows, rays.value, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        kernels.terms_adjoint(rays.rows, total.loss.grad, total.factor, rays.grad)

    run(Operation(forward, backward, [rays], [total.loss], "spread"))
    return Loss(total.loss, "spread")
