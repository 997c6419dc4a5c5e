"""A loss that is the sum or the mean of terms which a kernel wrote."""

from tidr.kernels import accumulate
from tidr.kernels.reduce import split

from .. import runtime
from ..array import Array
from ..buffer import Buffer


class Total:
    """`factor` times the sum of `rows` terms, added in a fixed order: `of` writes it to `loss`, a scalar.

    Without a factor it is their mean, 0 where there are none.
    """

    def __init__(self, rows: int, factor: float | None = None) -> None:
        self.rows, self.factor = rows, 1.0 / max(rows, 1) if factor is None else factor
        self.parts = split(max(rows, 1), runtime.on_cpu())
        self.loss, self.partial = Array(()), Buffer((self.parts.chunks,))

    def of(self, terms: Buffer) -> None:
        """Add up terms [rows]."""
        accumulate.total(self.rows, terms.ndarray, self.factor, *self.parts, self.partial.ndarray, self.loss.value)
