"""Voxel grids along rays: where samples lie, what the grid says there, how much each counts; with adjoints."""
