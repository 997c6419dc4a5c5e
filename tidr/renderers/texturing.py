"""A texture as the shading needs it: its mip chain, look-ups into a column, and the way back to its texels."""

from tidr import runtime
from tidr.buffer import Buffer
from tidr.fitting.tape import needs
from tidr.kernels import texture as kernels
from tidr.scene.texture import WRAPS, Texture


class TextureLookup:
    """One texture during one render. With filter "bilinear" the chain is the texels themselves."""

    def __init__(self, texture: Texture) -> None:
        self.texels, self.wrap = texture.texels, WRAPS.index(texture.wrap)
        height, width, self.channels = texture.texels.shape
        self.trilinear = texture.filter == "trilinear"
        layout = kernels.mip_layout(height, width, self.trilinear)
        self.levels, self.length = len(layout), kernels.chain_length(layout)
        self._table = Buffer(layout.shape, "int")
        self._table.ndarray.from_numpy(layout)
        self._chain = Buffer((self.length, self.channels)) if self.trilinear else None
        self._chain_grad: Buffer | None = None

    def build(self) -> None:
        """Fill the mip chain from the texels as they are now."""
        if self._chain is not None:
            kernels.build_mips(self.texels.value, self._chain.ndarray, self._table.ndarray, self.levels)

    def sample(self, buffer, column: str, count: int, material: int) -> None:
        """Look up the texture at the buffer's uv for the entries of one material."""
        kernels.sample(buffer, column, count, material, self._values, self._table.ndarray, self.levels, self.wrap)

    def clear(self) -> None:
        """Before the first `sample_adjoint` of a backward pass."""
        if self.trilinear:
            self._chain_grad = Buffer((self.length, self.channels))
            self._chain_grad.ndarray.fill(0.0)

    def sample_adjoint(self, buffer, column: str, count: int, material: int) -> None:
        """From the column's gradient to texels and to uv, uv_dx, uv_dy."""
        part = None
        if runtime.on_cpu():
            rows = kernels.scratch_rows(runtime.chunks(), self.length, self.channels)
            part = Buffer((rows, self.length * self.channels))
        kernels.sample_adjoint(
            buffer, column, count, material, self._values, self._grads, self._table.ndarray, self.levels, self.wrap,
            None if part is None else part.ndarray,
        )  # fmt: skip

    def collect(self) -> None:
        """After the last `sample_adjoint`: the levels' gradients go down to the texels."""
        if self._chain_grad is not None and needs(self.texels):
            kernels.build_mips_adjoint(self._chain_grad.ndarray, self._table.ndarray, self.levels, self.texels.grad)

    @property
    def _values(self):
        return self.texels.value if self._chain is None else self._chain.ndarray

    @property
    def _grads(self):
        return self.texels.grad if self._chain_grad is None else self._chain_grad.ndarray
