"""The pages of the documentation: hand-written ones with their marks filled in, and one for each renderer.

A mark is a line `<!-- make: WHAT NAME -->`; WHAT is a key of MAKERS.
"""

import re
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from tidr.errors import FileError
from tidr.files.write import write_files
from tidr.renderers.renderer import known_renderers, renderer_type

from .reference import api, command, losses, options_table, renderer_table, schema, without_options
from .text import markdown, title_of

MARK = re.compile(r"^<!-- make: (\w+) ?(\S*) -->$", re.M)
ORDER = (
    "index",
    "install",
    "photos",
    "conventions",
    "scene_file",
    "losses",
    "command",
    "operations",
    "extend",
    "troubleshooting",
    "api",
)
TUTORIAL = "tutorial.ipynb"


def build(folder: Path, gallery: bool = False) -> list[Path]:
    """Write all pages; returns their paths, the index first.

    Raises:
        FileError: the folder cannot be written.
    """
    pages = texts()
    beside = {TUTORIAL: source(TUTORIAL).encode()}
    if gallery:
        from .gallery import gallery_page

        pages["gallery"], pictures = gallery_page()
        beside |= pictures
        pages["index"] += "- [Gallery](gallery.md)\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(folder, f"cannot be made: {error.strerror}", "give another folder") from error
    written = {folder / f"{name}.md": text.encode() for name, text in pages.items()}
    write_files(written | {folder / name: data for name, data in beside.items()})
    return list(written)


def texts() -> dict[str, str]:
    """The text of every page but the gallery, by name; the index first."""
    pages = {name: source(f"{name}.md") for name in ORDER}
    pages |= {f"renderer_{name}": renderer_page(name) for name in known_renderers()}
    contents = [f"- [{title_of(text)}]({name}.md)" for name, text in pages.items() if name != "index"]
    makers = MAKERS | {"contents": lambda _: "\n".join(contents)}
    return {name: MARK.sub(lambda found: makers[found[1]](found[2]), text) for name, text in pages.items()}


def source(name: str) -> str:
    """The text of a file of this package."""
    return resources.files("tidr.docs").joinpath(*name.split("/")).read_text("utf-8")


def renderer_page(name: str) -> str:
    """What a renderer draws, what it does not differentiate, its options, and how a scene file asks for it."""
    kind = renderer_type(name)
    library = f"In a program `tidr.render(scene, renderer=tidr.{kind.__name__}())`"
    parts = [
        f'# Renderer `{kind.__name__}` ("{name}")',
        markdown(without_options(kind)),
        f"{library}, on the command line `tidr render SCENE -o a.png --renderer {name}`.",
        "## Options\n\n" + options_table(kind),
        f"In a scene file, with the defaults of all options:\n\n```toml\n{renderer_table(name)}\n```",
        "[Contents](index.md)",
    ]
    return "\n\n".join(parts) + "\n"


def example(name: str) -> str:
    """One of the example files."""
    return f"```python\n{source(f'examples/{name}.py')}```"


MAKERS: dict[str, Callable[[str], str]] = {
    "example": example,
    "losses": lambda _: losses(),
    "command": lambda _: command(),
    "api": lambda _: api(),
    "schema": lambda _: schema(),
}
