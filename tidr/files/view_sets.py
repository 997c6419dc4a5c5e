"""Pictures with their cameras, whatever program they come from: transforms.json, a COLMAP model, LLFF."""

from pathlib import Path

from tidr.errors import FileError

from .cameras import ViewSet, read_transforms
from .colmap import find_model, is_model, read_colmap
from .guard import DEFAULT, Limits
from .llff import NAME as LLFF
from .llff import read_llff

TRANSFORMS = ("transforms.json", "transforms_train.json")


def find_views(folder: Path) -> Path:
    """The file of a folder that tells its cameras.

    Raises:
        FileError: there is none.
    """
    found = [folder / name for name in TRANSFORMS if (folder / name).is_file()]
    model = find_model(folder)
    found += [model] if model is not None else []
    found += [folder / LLFF] if (folder / LLFF).is_file() else []
    if not found:
        mend = f"give a folder with transforms.json, a COLMAP model (sparse/0) or {LLFF}"
        raise FileError(folder, "is a folder without transforms.json or other cameras", mend)
    return found[0]


def is_views(path: Path) -> bool:
    """Whether a file tells cameras, by its name."""
    return path.suffix.lower() == ".json" or is_model(path) or path.name == LLFF


def read_views(path: str | Path, limits: Limits = DEFAULT, pictures: bool = True) -> ViewSet:
    """The views of a transforms.json, a COLMAP model (any of its files), a poses_bounds.npy, or a folder with one.

    Args:
        pictures: False reads cameras alone; pictures then need not exist.

    Raises:
        FileError: names the file and the place in it.
    """
    path = Path(path)
    path = find_views(path) if path.is_dir() else path
    if is_model(path):
        return read_colmap(path, limits, pictures)
    return (read_llff if path.name == LLFF else read_transforms)(path, limits, pictures)


def read_split(path: str | Path, limits: Limits = DEFAULT, every: int = 0) -> tuple[ViewSet, ViewSet]:
    """Views to fit and views kept out of the fit (possibly none).

    `path` is a folder with transforms_train.json and perhaps transforms_test.json (or one of these files), or anything
    that `read_views` takes. A transforms.json may say "split" in its frames, or list train_filenames and
    test_filenames. Where nothing is said, `every` = 4 keeps out every fourth view, from the first on; 0 keeps none.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    train_path, test_path = folder / "transforms_train.json", folder / "transforms_test.json"
    if path.name in (train_path.name, test_path.name) or (path.is_dir() and train_path.exists()):
        train = read_transforms(train_path, limits)
        test = read_transforms(test_path, limits) if test_path.exists() else ViewSet(test_path, ())
        return train, test
    views = read_views(path, limits)
    kept_out = [frame.split in ("test", "val") for frame in views.frames]
    if every and all(frame.split is None for frame in views.frames):
        kept_out = [index % every == 0 for index in range(len(views))]
    chosen = [tuple(f for f, out in zip(views.frames, kept_out, strict=True) if out == side) for side in (False, True)]
    if not chosen[0]:
        raise FileError(views.path, "keeps every view out of the fit", "leave some without split = test")
    return ViewSet(views.path, chosen[0]), ViewSet(views.path, chosen[1])
