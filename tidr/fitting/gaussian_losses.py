"""What keeps Gaussians few and small: the regularizers of Kheradmand et al. 2024, "3D Gaussian Splatting as Markov
Chain Monte Carlo"."""

from tidr.kernels.points import density as kernels
from tidr.scene.gaussians import Gaussians

from ..buffer import Buffer
from .tape import Loss, Operation, run
from .totals import Total


def gaussian_opacity(gaussians: Gaussians) -> Loss:
    """Mean of the opacities."""
    logits = gaussians.opacity_logits
    rows, total = logits.rows, Total(logits.rows)
    terms = Buffer((rows,))

    def forward() -> None:
        kernels.sigmoids(rows, logits.value, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        kernels.sigmoids_adjoint(rows, logits.value, total.loss.grad, 1.0 / rows, logits.grad)

    run(Operation(forward, backward, [logits], [total.loss], "gaussian_opacity"))
    return Loss(total.loss, "gaussian_opacity")


def gaussian_scale(gaussians: Gaussians) -> Loss:
    """Mean of the standard deviations along the three axes, object units."""
    logs = gaussians.log_scales
    rows, factor = logs.rows, 1.0 / (3 * logs.rows)
    total = Total(rows, factor)
    terms = Buffer((rows,))

    def forward() -> None:
        kernels.exponentials(rows, 3, logs.value, terms.ndarray)
        total.of(terms)

    def backward() -> None:
        kernels.exponentials_adjoint(rows, 3, logs.value, total.loss.grad, factor, logs.grad)

    run(Operation(forward, backward, [logs], [total.loss], "gaussian_scale"))
    return Loss(total.loss, "gaussian_scale")
