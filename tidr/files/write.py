"""Files are written whole or not at all: a temporary name in the same folder, synced, then renamed."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tidr.errors import FileError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` for the block to write; renamed to `path` when the block ends well.

    Raises:
        FileError: the folder is missing or read-only, or the disk is full. What stood at `path` is then untouched.
    """
    path = Path(path)
    temporary = None
    try:
        # mkstemp gives a private file; the reader gets what the user's umask allows.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        temporary = None
        _sync(path.parent)
    except OSError as error:
        what = f"cannot be written: {error.strerror or error}"
        raise FileError(path, what, "check the folder and its space") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write one file whole."""
    write_files({Path(path): data})


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write several files; all are complete under temporary names before the first is renamed, the last one last."""
    if not files:
        return
    *_, last = files
    rest = {path: data for path, data in files.items() if path != last}
    with replacing(last) as temporary:
        temporary.write_bytes(files[last])
        write_files(rest)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        # Some file systems cannot sync a folder; a file that cannot be synced is an error.
        if not path.is_dir():
            raise
    finally:
        os.close(handle)
