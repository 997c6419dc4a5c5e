"""Rasterization kernels: project, find, gather, blend, edges. Arrays in, arrays out; every adjoint adds."""
