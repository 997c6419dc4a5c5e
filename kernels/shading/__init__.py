"""Visible surface points, what they reflect, and the light that reaches them."""
