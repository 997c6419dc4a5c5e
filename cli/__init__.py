"""The command `tidr`: one file per verb. Nothing heavy is imported before a verb runs."""

import functools
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from .output import plain_warnings

VERBS = ("fit", "render", "view", "check", "bench", "info", "scenes", "convert", "doctor")


os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")  # standard output is for what the user asked for


def guarded(verb: Callable) -> Callable:
    """The verb with its errors and warnings as one line each on stderr, and with an exit code.

    That is 2 for bad input, 1 for failed work, 130 for Ctrl-C.
    """

    @functools.wraps(verb)
    def run(*arguments, **options):
        try:
            with plain_warnings(verb.__name__):
                return verb(*arguments, **options)
        except KeyboardInterrupt:
            print("tidr: interrupted", file=sys.stderr)
            raise typer.Exit(130) from None
        except Exception as error:
            from tidr.errors import TidrError

            if not isinstance(error, TidrError | MemoryError):
                raise
            print(f"tidr {verb.__name__}: {error or 'out of memory'}", file=sys.stderr)
            raise typer.Exit(1 if _is_failure(error) else 2) from None

    return run


def _is_failure(error: Exception) -> bool:
    """Whether the input was well and the work failed."""
    loop = sys.modules.get("tidr.fitting.loop")
    return isinstance(error, MemoryError) or (loop is not None and isinstance(error, loop.FitError))


def plugins(
    plugin: Annotated[
        list[Path] | None,
        typer.Option("--plugin", metavar="FILE", help="Python file to run first; it registers what it brings."),
    ] = None,
) -> None:
    """The differentiable renderer tidr."""
    for path in plugin or ():
        from tidr.files.plugins import load_plugin

        load_plugin(path)


def _application() -> typer.Typer:
    # Plain help: rich markup would swallow "[fit]", and its import costs a third of the start.
    options = {"no_args_is_help": True, "pretty_exceptions_enable": False, "rich_markup_mode": None}
    made = typer.Typer(help="The differentiable renderer tidr.", **options)
    made.callback()(guarded(plugins))
    for name in VERBS:
        function = getattr(import_module(f"{__name__}.{name}"), name)
        made.command(name)(guarded(function))
    return made


app = _application()
