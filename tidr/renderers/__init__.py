"""Renderers: from a scene and cameras to an image whose every channel carries a gradient."""
