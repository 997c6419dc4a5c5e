"""Marching rays through grids: look-ups, emission-absorption quadrature and its adjoint."""
