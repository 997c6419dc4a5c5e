"""tidr scenes: the scenes that come with tidr."""

import typer


def scenes() -> None:
    """List the bundled scenes, each with a line about it."""
    from tidr.files.scene_file import bundled, describe

    found = bundled()
    width = max([len(name) for name in found], default=0)
    for name, path in found.items():
        typer.echo(f"{name:{width}}  {describe(path)}".rstrip())
