"""Starting backends: refusals say how to mend them, "auto" keeps off software Vulkan, memory is used again."""

import gc

import numpy as np
import pytest

import tidr
from tidr import buffer, runtime
from tidr.array import Array
from tidr.buffer import Buffer
from tidr.fitting.mesh_solver import MeshSolver


def refused(match: str, **options) -> tidr.BackendError:
    with pytest.raises(tidr.BackendError, match=match) as caught:
        tidr.init(**options)
    assert caught.value.where == "init"
    assert caught.value.mend
    return caught.value


def test_unknown_names_and_precisions_are_refused_and_change_nothing(f64):
    before = runtime.current()
    assert "cpu, cuda" in refused("unknown arch 'gpu'", arch="gpu").mend
    refused("precision is 16", arch="cpu", precision=16)
    for arch in ("vulkan", "metal"):
        assert 'arch="cpu"' in refused("32 bits only", arch=arch, precision=64).mend
    assert runtime.current() is before
    assert float(Array.of(np.array(1 / 3)).numpy()) == 1 / 3


def test_a_backend_that_is_not_there_says_what_to_install():
    core = runtime.taichi()._lib.core
    if core.with_cuda():
        pytest.skip("this machine has CUDA")
    with pytest.raises(tidr.BackendError) as caught:
        tidr.init(arch="cuda")
    assert "did not start" in caught.value.what
    assert "NVIDIA" in caught.value.mend
    # What can be started still starts.
    assert tidr.init(arch="cpu").arch == "cpu"


def test_a_scene_of_an_earlier_start_is_refused(f32):
    scene, camera = tidr.load("cube"), tidr.Camera.look_at((0, 0, 4), (0, 0, 0), fov_y_degrees=40)
    tidr.init(arch="cpu")
    with pytest.raises(tidr.SceneError, match=r"^scene: was made before Taichi was started again.*load it"):
        tidr.render(scene, width=8, height=8)
    with pytest.raises(tidr.SceneError, match=r"^camera: was made before"):
        tidr.render(tidr.load("cube"), camera=camera, width=8, height=8)
    tidr.render(tidr.load("cube"), width=8, height=8)


def test_auto_never_takes_software_vulkan(monkeypatch):
    software = {"name": "llvmpipe", "software": True}
    hardware = {"name": "Some GPU", "software": False}
    core = runtime.taichi()._lib.core
    monkeypatch.setattr(core, "with_cuda", lambda: False, raising=False)
    monkeypatch.setattr(core, "with_metal", lambda: False, raising=False)
    for devices, precision, expected in (
        ([], 32, "cpu"),
        ([software], 32, "cpu"),
        ([software, hardware], 32, "vulkan"),
        ([hardware], 64, "cpu"),
    ):
        monkeypatch.setattr(runtime, "vulkan_devices", lambda devices=devices: devices)
        assert runtime._choose(precision) == expected


def test_auto_here_starts_something_that_works():
    devices = runtime.vulkan_devices()
    assert all(set(device) == {"name", "software"} for device in devices)
    started = tidr.init()
    assert started is runtime.current()
    assert started.arch != "auto"
    if started.arch == "vulkan":
        assert not all(device["software"] for device in devices)
    np.testing.assert_allclose(Array.of(np.arange(3.0)).numpy(), np.arange(3))


def test_vulkan_starts_in_single_precision(vulkan):
    assert runtime.current().arch == "vulkan"
    assert runtime.chunks() == 1
    assert Array.of(np.array([1 / 3])).numpy().dtype == np.float32


def test_threads_and_seed_are_kept():
    started = tidr.init(arch="cpu", precision=64, seed=7, threads=3)
    assert (started.threads, started.seed, runtime.chunks()) == (3, 7, 3)
    generation = runtime.generation()
    tidr.init(arch="cpu")
    assert runtime.generation() == generation + 1


def test_dropped_buffers_serve_again(f32):
    first = Buffer((40, 3))
    address = first.ndarray
    count = buffer.allocations
    del first
    gc.collect()
    again, other = Buffer((40, 3)), Buffer((40, 3), "int")
    assert again.ndarray is address
    assert other.ndarray is not address
    assert buffer.allocations == count + 1
    for _ in range(20):
        Array((40, 3))
    assert buffer.allocations <= count + 4


def test_rendering_again_allocates_nothing(f32):
    vertices, faces = tidr.icosphere(1)
    scene = tidr.Scene(tidr.Film(16, 16))
    scene.add_node("ball", tidr.Node(tidr.Mesh(vertices, faces)))
    scene.add_light("sky", tidr.AmbientLight(1.0))
    scene.add_camera("front", tidr.Camera.look_at((0, 0, 3), (0, 0, 0), fov_y_degrees=50, width=16, height=16))
    target = np.zeros((16, 16, 3))
    for edges in ("none", "antialias", "soft"):
        counts = []
        for _ in range(6):
            with tidr.Tape() as tape:
                image = tidr.render(scene, renderer=tidr.Rasterizer(edges=edges, sigma=1e-3))
                tape.add(tidr.losses.mse(image, target))
            counts.append(buffer.allocations)
        assert counts[2:] == [counts[2]] * 4, edges


def test_an_array_of_another_start_does_not_disturb_the_new_one():
    tidr.init(arch="cpu", precision=64)
    old = [Array.of(np.full((8, 3), -1.0)) for _ in range(100)]
    tidr.init(arch="cpu")
    new = [Array.of(np.full((8, 3), k)) for k in range(100)]
    old.clear()
    gc.collect()
    more = [Array.of(np.full((8, 3), -k)) for k in range(100)]
    for k in range(100):
        assert (new[k].numpy() == k).all()
        assert (more[k].numpy() == -k).all()


def test_nothing_but_buffers_keeps_device_arrays(f32):
    """Others, freed after another start of Taichi, would take away what stands at their address then."""
    from taichi.lang._ndarray import Ndarray

    scene = tidr.load("cube")
    parameters = scene.parameters()
    with tidr.Tape(parameters) as tape:
        tape.add(tidr.losses.mse(tidr.render(scene, width=16, height=16).rgb, np.zeros((16, 16, 3))))
    solver = MeshSolver(scene.nodes["cube"].mesh.topology, 1.0)
    made = [thing for thing in gc.get_objects() if isinstance(thing, Ndarray) and thing.arr is not None]
    assert len(made) > 20
    assert all(id(ndarray) in buffer._owned for ndarray in made)
    assert solver is not None


def test_arrays_in_reference_cycles_are_freed_once(f32):
    for _ in range(20):
        ring: list = [Array((8, 3)) for _ in range(4)]
        ring.append(ring)
        del ring
    gc.collect()
    made = [Array.of(np.full((8, 3), k)) for k in range(100)]
    for k, array in enumerate(made):
        assert (array.numpy() == k).all()
