"""Photon mapping."""
