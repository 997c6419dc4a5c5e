"""Plugins: Python files that register renderers, materials, losses, edges and geometries. They run only when asked to.

A scene file names those that it needs in `plugins`; loading the scene runs none of them, for a scene file is data that
may come from anywhere. The user runs them, by `load_plugin` or `tidr --plugin`. Those of bundled scenes are tidr's own
code, which runs without that.
"""

import hashlib
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

from tidr.errors import FileError

from .guard import Limits, decode_text, read_bytes, resolve
from .scene_faults import Faults, brief

LARGEST_PLUGIN = 1 << 20  # bytes
_loaded: dict[str, ModuleType] = {}  # by the digest of what is in the file


def load_plugin(path: str | Path) -> ModuleType:
    """Run a Python file, which registers what it brings, and return its module; one of equal contents runs once.

    Raises:
        FileError: no such file, no .py, or an error while it runs, with its line.
    """
    path = Path(path)
    if path.suffix != ".py":
        raise FileError(path, "is no plugin", "give a Python file, .py")
    data = read_bytes(path)
    digest = _digest(data)
    if digest in _loaded:
        return _loaded[digest]
    module = ModuleType(f"tidr_plugin_{path.stem}_{digest[:8]}")
    module.__file__ = str(path.resolve())
    sys.modules[module.__name__] = module
    try:
        exec(compile(decode_text(data, path), module.__file__, "exec", dont_inherit=True), module.__dict__)
    except Exception as error:
        del sys.modules[module.__name__]
        raise FileError(_place(path, error), f"{type(error).__name__}: {error}", "mend the plugin") from error
    _loaded[digest] = module
    return module


def loaded_plugins() -> dict[str, str]:
    """The file of each plugin that ran, by the digest of what is in it."""
    return {digest: str(module.__file__) for digest, module in _loaded.items()}


def load_same(plugins: Mapping[str, str]) -> None:
    """Run what another process says in `loaded_plugins`.

    Raises:
        FileError: a file is missing or fails, or holds something else here.
    """
    for digest, path in plugins.items():
        if digest not in _loaded:
            load_plugin(path)
        if digest not in _loaded:
            raise FileError(path, "this plugin is another than where the work was started", "give all the same files")


def check_plugins(raw: Mapping[str, Any], root: Path, limits: Limits, faults: Faults) -> list[Path]:
    """The files that the key `plugins` names, all of which the user has run; those that came with tidr run here."""
    names, found = raw.get("plugins", []), []
    if not isinstance(names, list):
        faults.add(["plugins"], f"is {brief(names)}, expected a list of names of .py files")
        return []
    for index, name in enumerate(names[: limits.nodes]):
        with faults.under(["plugins", index]):
            path = resolve(root, name, "")
            if path.stat().st_size > LARGEST_PLUGIN:
                raise FileError("", f"is larger than {LARGEST_PLUGIN} bytes")
            data = read_bytes(path)
            if _digest(data) not in _loaded and _is_ours(data):
                load_plugin(path)
            if _digest(data) not in _loaded:
                mend = f"if you trust it, run it first: tidr --plugin {path} ..., or tidr.load_plugin({str(path)!r})"
                raise FileError("", f"the scene needs the code of {name!r:.80}, which has not been run", mend)
            found.append(path)
    return found


def _is_ours(data: bytes) -> bool:
    """Whether this is the code of a bundled scene, or a copy of it as fits leave them."""
    files = resources.files("tidr.scenes").iterdir()
    return any(one.name.endswith(".py") and one.read_bytes() == data for one in files)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _place(path: Path, error: Exception) -> str:
    """The file, with the last of its lines that led to the error."""
    line, trace = getattr(error, "lineno", None), error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path.resolve()):
            line = trace.tb_lineno
        trace = trace.tb_next
    return str(path) if line is None else f"{path}:{line}"
