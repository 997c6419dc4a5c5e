"""What belongs to fits of voxel grids beside comparing pictures."""

from tidr.kernels.voxels import losses as kernels

from ..array import Array
from ..buffer import Buffer
from ..errors import SceneError
from .tape import Loss, Operation, run
from .totals import Total

OFFSET = 2.20727  # -log(1/10) - log(11/10), rounded as published


def opacity_prior(image) -> Loss:
    """Mean over pixels of log(.1 + a) + log(.1 + 1 - a) + 2.20727 for the opacities a of an image, or an array of them.

    It is 0 for pixels that are all clear or all opaque, and positive in between (Lombardi et al. 2019, "Neural
    Volumes").
    """
    alpha = image if isinstance(image, Array) else image.alpha
    if alpha.channels != 1 or alpha.rows == 0:
        raise SceneError("opacity_prior", f"got shape {alpha.shape}, expected [..., 1]", "pass an image or its alpha")
    total, terms = Total(alpha.rows), Buffer((alpha.rows,))

    def forward() -> None:
        kernels.opacity_prior(alpha.rows, alpha.value, OFFSET, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        kernels.opacity_prior_adjoint(alpha.rows, alpha.value, total.loss.grad, alpha.grad)

    run(Operation(forward, backward, [alpha], [total.loss], "opacity_prior"))
    return Loss(total.loss, "opacity_prior")


def truncated(distances: Array, truncation: float) -> Array:
    """Signed distances of a voxel grid clamped to +-truncation (object units), to compare with measured ones.

    What this does not differentiate: distances outside the band have no gradient (Curless and Levoy 1996).
    """
    if not truncation > 0:
        raise SceneError("truncated", f"truncation is {truncation}", "give a distance above 0")
    out, band = Array((distances.rows, 1)), float(truncation)
    out.shape = distances.shape

    def forward() -> None:
        kernels.truncate(distances.rows, distances.value, band, out.value)

    def backward() -> None:
        kernels.truncate_adjoint(distances.rows, distances.value, band, out.grad, distances.grad)

    run(Operation(forward, backward, [distances], [out], "truncated"))
    return out
