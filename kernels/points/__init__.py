"""Points and Gaussians: neighbours, splats of every kind, their lists. Arrays in, arrays out; every adjoint adds."""
