"""Started as a program: reads every case below a folder with bounded memory, one line of verdicts.jsonl for each."""

import json
import sys
import time
import warnings
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

from tidr.errors import TidrError
from tidr.files.colmap import read_points as read_colmap_points
from tidr.files.depth import read_depth
from tidr.files.gltf_scene import read_gltf_scene
from tidr.files.guard import MeshWarning
from tidr.files.image import SUFFIXES, read_image
from tidr.files.imported import Imported, SceneWarning
from tidr.files.mesh import read_mesh
from tidr.files.mitsuba import read_mitsuba
from tidr.files.points import read_points
from tidr.files.splats import read_splats
from tidr.files.view_sets import is_views, read_views
from tidr.files.volume import read_volume


def read(path: Path) -> str:
    """What reading the file comes to: "valid", "refused: <message>", or what is wrong with it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", MeshWarning)
            warnings.simplefilter("ignore", SceneWarning)
            return check(path)
    except TidrError as error:
        if isinstance(error.__cause__, MemoryError):
            return f"ran out of memory: {error}"
        if str(path.parent) not in error.where:
            return f"names no file: {error}"
        return f"refused: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


def check(path: Path) -> str:
    """Read by the suffix and look at what came out."""
    if path.stem == "points3D":
        arrays = read_colmap_points(path)
        sound = len(arrays[0]) == len(arrays[1]) and all(np.isfinite(array).all() for array in arrays)
    elif is_views(path):
        arrays = [array for frame in read_views(path).frames for array in (*frame.load(), frame.camera_to_world)]
        sound = all(np.isfinite(array).all() for array in arrays if array is not None)
    elif path.stem == "volume" or path.suffix in (".vol", ".nrrd"):
        data = read_volume(path)
        sound = all(np.isfinite(grid).all() and grid.size for grid in data.grids.values()) and len(data.shape) == 3
    elif path.stem == "splats":
        arrays = [array for array in vars(read_splats(path)).values() if isinstance(array, np.ndarray)]
        sound = all(np.isfinite(array).all() and len(array) == len(arrays[0]) > 0 for array in arrays)
    elif path.stem == "points":
        arrays = list(read_points(path).given().values())
        sound = all(np.isfinite(array).all() and len(array) == len(arrays[0]) > 0 for array in arrays)
    elif path.stem == "depth":
        depth = read_depth(path)
        sound = depth.ndim == 2 and depth.dtype == np.float32 and np.isfinite(depth).all() and (depth >= 0).all()
    elif path.suffix in SUFFIXES:
        picture = read_image(path)
        sound = picture.ndim == 3 and picture.dtype == np.float32 and picture.size and np.isfinite(picture).all()
    elif path.suffix == ".xml":
        sound = _is_sound(read_mitsuba(path))
    else:
        data = read_mesh(path)
        sound = path.suffix not in (".gltf", ".glb") or _is_sound(read_gltf_scene(path).scene)
        sound = sound and len(data.faces) and np.isfinite(data.vertices).all()
        for rows, corners in (
            (data.vertices, data.faces),
            (data.uvs, data.uv_faces),
            (data.normals, data.normal_faces),
        ):
            if rows is not None:
                sound = sound and corners.shape == data.faces.shape and 0 <= corners.min() <= corners.max() < len(rows)
    return "valid" if sound else "unsound"


def _is_sound(scene: Imported) -> bool:
    """Whether all meshes and pictures of a scene are what their tables may show."""
    arrays = [*scene.pictures.values(), *(data.vertices for data in scene.meshes.values())]
    return all(array.size and np.isfinite(array).all() for array in arrays)


def bound_memory(megabytes: int) -> None:
    """Let the address space grow by this much more, where the system can."""
    with suppress(ImportError, OSError):
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    folder, megabytes = Path(sys.argv[1]), int(sys.argv[2])
    todo = json.loads((folder / "cases.json").read_text())
    import PIL.Image
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin  # noqa: F401

    for name in ("OpenEXR", "nrrd"):
        with suppress(ImportError):
            import_module(name)
    bound_memory(megabytes)
    with open(folder / "verdicts.jsonl", "w") as out:
        for name, file in todo:
            print(json.dumps([name, "unfinished", 0]), file=out, flush=True)
            start = time.perf_counter()
            verdict = read(folder / file)
            print(json.dumps([name, verdict, time.perf_counter() - start]), file=out, flush=True)


if __name__ == "__main__":
    main()
