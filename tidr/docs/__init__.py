"""The documentation: pages in Markdown, and what makes the rest from docstrings, settings and scenes (build.py)."""
