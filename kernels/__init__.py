"""Device code only: every kernel and its adjoint. Knows no scene and no file."""

if __name__ != "tidr.kernels":
    raise ImportError("kernels is part of tidr: import tidr.kernels")

from ..runtime import taichi

taichi()  # before any kernel is declared: no banner, and the shortcuts hold for every declaration
