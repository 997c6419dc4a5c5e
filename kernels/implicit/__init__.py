"""Surfaces given by a function: level sets along rays, occupancy at anchors, NeuS, extraction; with adjoints."""
