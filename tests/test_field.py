"""Hash and frequency fields against their numpy twins: pictures and gradients."""

from types import SimpleNamespace

import numpy as np
import pytest

import tidr
from tidr.array import Array
from tidr.errors import SceneError
from tidr.fitting.tape import Loss, Operation, Tape, run
from tidr.renderers.field_frequency import frequency_layer
from tidr.renderers.field_hash import hash_layer
from tidr.renderers.rays import Rays
from tidr.renderers.volume import VolumeRenderer
from tidr.scene.field import FrequencyField, HashField

from .conftest import on_backends
from .gradients import directional_check, weighted
from .reference import field as twin

BOX = {"lower": (-0.9, -1, -0.8), "upper": (1, 0.8, 1.1)}


def hash_field(seed: int = 0, features: int = 2) -> HashField:
    """A field whose table is random enough to make a picture; its third level is hashed."""
    field = HashField(
        levels=3, features=features, log2_entries=9, base_resolution=3, finest_resolution=12, width=9, geometry=4,
        seed=seed, **BOX,
    )  # fmt: skip
    field.table.set(np.random.default_rng(seed).normal(size=field.table.shape) * 0.5)
    return field


def frequency_field(depth: int = 2, seed: int = 0) -> FrequencyField:
    return FrequencyField(width=10, depth=depth, octaves=2, direction_octaves=1, fine_samples=7, seed=seed, **BOX)


def some_rays(seed: int, count: int = 12) -> Rays:
    """Towards the box from around it, some from inside, some past it; directions of any length."""
    rng = np.random.default_rng(seed)
    origins = rng.normal(size=(count, 3))
    origins *= 2.5 / np.linalg.norm(origins, axis=1, keepdims=True)
    origins[0] *= 0.1
    directions = rng.uniform(-0.5, 0.5, (count, 3)) - origins / 2.5
    directions[1] *= -1
    directions[0] *= 3 / np.linalg.norm(directions[0])
    return Rays(tidr.Parameter(origins), tidr.Parameter(directions), Array.of(np.ones((count, 1))), (count,))


def total(losses: list[Loss]) -> Loss:
    out = Array(())

    def forward() -> None:
        out.set(sum(float(loss.array.numpy()) for loss in losses))

    def backward() -> None:
        for loss in losses:
            loss.array.set_grad(loss.array.grad_numpy() + out.grad_numpy())

    run(Operation(forward, backward, [loss.array for loss in losses], [out], "total"))
    return Loss(out, "total")


def layer_of(field, rays: Rays, **settings):
    scene = tidr.Scene()
    node = scene.add_node("field", tidr.Node(field))
    make = hash_layer if isinstance(field, HashField) else frequency_layer
    return make(VolumeRenderer(**settings), scene, node, rays, rays)


def stacked(layer) -> list[Array]:
    arrays = [layer.rgb, layer.alpha, layer.distance, layer.spread]
    return arrays + (stacked(layer.coarse) if layer.coarse is not None else [])


def check_against(twin_of, arrays, field, rays, backend, seed, **settings) -> None:
    """The picture, and the derivative along random directions of its weighted sum, against the twin's."""
    rng = np.random.default_rng(seed)
    values = [array.numpy().astype(np.float64) for array in arrays]
    expected = twin_of(*values)
    weights = rng.normal(size=expected.shape)
    with Tape() as tape:
        outputs = stacked(layer_of(field, rays, **settings))
        columns = np.cumsum([0] + [array.channels for array in outputs])
        losses = [weighted(a, weights[:, s:e]) for a, s, e in zip(outputs, columns, columns[1:], strict=False)]
        tape.add(total(losses))
    found = np.concatenate([array.numpy() for array in outputs], 1)
    assert np.abs(found - expected).max() < (1e-9 if backend.precision == 64 else 2e-4)
    for k, array in enumerate(arrays):
        gradient = array.grad_numpy().astype(np.float64)
        for _ in range(3):
            way = rng.normal(size=values[k].shape)
            ends = [twin_of(*(v + h * way if i == k else v for i, v in enumerate(values))) for h in (1e-7, -1e-7)]
            slope = float(((ends[0] - ends[1]) * weights).sum() / 2e-7)
            exact = float((gradient * way).sum())
            scale = max(abs(slope), 1e-2 * np.linalg.norm(gradient))
            assert abs(slope - exact) <= backend.rtol * scale, (array.label, slope, exact)


@pytest.mark.row(83)
@pytest.mark.parametrize(("backend", "seed"), on_backends([(0,), (1,), (2,)], [(0,)]), indirect=["backend"])
def test_hash_field_and_its_gradients_equal_the_twin(backend, seed):
    field, rays = hash_field(seed, features=(2, 1, 4)[seed]), some_rays(seed)
    arrays = [field.table, field.weights, rays.origins, rays.directions]

    def twin_of(table, weights, origins, directions):
        return twin.render_hash(field, table, weights, origins, directions, 16)

    check_against(twin_of, arrays, field, rays, backend, seed, steps=16, skip=None, stop=0.0)


@pytest.mark.row(77)
@pytest.mark.parametrize(("backend", "depth"), on_backends([(2,), (6,)], [(6,)]), indirect=["backend"])
def test_frequency_field_and_its_gradients_equal_the_twin(backend, depth):
    field, rays = frequency_field(depth), some_rays(depth)
    arrays = [field.coarse, field.fine, rays.origins, rays.directions]
    coarse, fine, o, d = (array.numpy().astype(np.float64) for array in arrays)
    places = twin.render_frequency(field, coarse, fine, o, d, 6)[1]

    def twin_of(coarse, fine, origins, directions):
        return twin.render_frequency(field, coarse, fine, origins, directions, 6, places)[0]

    check_against(twin_of, arrays, field, rays, backend, depth, steps=6, stop=0.0)


@pytest.mark.row(83)
def test_gradients_of_a_jittered_picture_reach_the_camera(f64):
    field, scene = hash_field(3), tidr.Scene()
    scene.add_node("field", tidr.Node(field, scale=1.2))
    camera = scene.add_camera("view", tidr.Camera.look_at((1.1, 0.9, 2.4), (0, 0, 0), fov_y_degrees=45))
    scene.film.background = (0.2, 0.5, 0.9)
    renderer = VolumeRenderer(steps=12, skip=None, jitter=True, seed=5)

    def function() -> Loss:
        image = renderer.render(scene, [camera], 6, 5)
        return total([weighted(part, 1.0 + k) for k, part in enumerate((image.rgb, image.alpha, image.depth))])

    parameters = [camera.position, camera.rotation, scene["field"].scale, field.weights]
    close = SimpleNamespace(precision=64, rtol=f64.rtol, step=1e-7)  # so close that no sample crosses a cell's face
    directional_check(function, parameters, close)


def test_jitter_moves_the_samples_and_the_seed_repeats_them(f32):
    field, rays = hash_field(), some_rays(0)
    one, other, again = (
        layer_of(field, rays, steps=16, skip=None, jitter=True, seed=seed).rgb.numpy() for seed in (1, 2, 1)
    )
    assert np.array_equal(one, again)
    assert not np.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("make", [hash_field, frequency_field])
def test_rays_past_along_and_inside_the_box_give_numbers(f64, make):
    field = make()
    origins = np.array([[5, 5, 5], [-3, 0, 0], [0.1, 0.1, 0.1], [-0.9, -1, -3], [1e6, 0, 0], [0, 0, -1e-3]])
    directions = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1], [-1, 0, 0], [1e-9, 0, 1.0]])
    rays = Rays(tidr.Parameter(origins), tidr.Parameter(directions), Array.of(np.ones((6, 1))), (6,))
    with Tape() as tape:
        layer = layer_of(field, rays, steps=8)
        tape.add(total([weighted(array, 1.0) for array in stacked(layer)]))
    assert all(np.isfinite(array.numpy()).all() for array in stacked(layer))
    assert (layer.alpha.numpy()[[1, 2, 4], 0] > 0).all()
    assert layer.alpha.numpy()[0, 0] == 0
    for array in (rays.origins, rays.directions, *field.parameters().values()):
        assert np.isfinite(array.grad_numpy()).all()


@pytest.mark.parametrize("make", [hash_field, frequency_field])
def test_gradients_are_equal_bit_for_bit_when_repeated(f32, make):
    field, rays, found = make(), some_rays(0, 300), []
    for _ in range(2):
        with Tape() as tape:
            tape.add(weighted(layer_of(field, rays, steps=40).rgb, 1.0))
        found.append([parameter.grad_numpy() for parameter in (*field.parameters().values(), rays.directions)])
    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))


def test_chunks_do_not_change_the_picture_or_the_gradients(f64, monkeypatch):
    rays, pictures, gradients = some_rays(4, 40), [], []
    for numbers in (1 << 24, 1):
        monkeypatch.setattr("tidr.renderers.field_network.NUMBERS", numbers)
        for field in (hash_field(5), frequency_field()):
            with Tape() as tape:
                outputs = stacked(layer_of(field, rays, steps=30))
                tape.add(total([weighted(array, 1.0 + k) for k, array in enumerate(outputs)]))
            pictures.append(np.concatenate([array.numpy() for array in outputs], 1))
            arrays = (*field.parameters().values(), rays.origins)
            gradients.append(np.concatenate([array.grad_numpy().reshape(-1) for array in arrays]))
    assert np.allclose(pictures[0], pictures[2], atol=1e-12)
    assert np.allclose(pictures[1], pictures[3], atol=1e-12)
    assert np.allclose(gradients[0], gradients[2], atol=1e-9 * np.abs(gradients[0]).max())
    assert np.allclose(gradients[1], gradients[3], atol=1e-9 * np.abs(gradients[1]).max())


@pytest.mark.parametrize("make", [hash_field, frequency_field])
def test_a_backward_allocates_nothing_new_and_no_more_for_more_steps(f32, make):
    from tidr import buffer

    field, rays, made = make(), some_rays(0, 64), []
    for steps in (64, 64, 64, 1024):
        before = buffer.allocations
        with Tape() as tape:
            tape.add(weighted(layer_of(field, rays, steps=steps).rgb, 1.0))
        made.append(buffer.allocations - before)
    assert made[2:] == [0, 0]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"levels": 0}, "levels"), ({"log2_entries": 30}, "log2_entries"), ({"width": 2.5}, "width"),
        ({"finest_resolution": 8}, "finest_resolution"), ({"upper": (-1, 1, 1)}, "field"),
        ({"lower": (0, np.nan, 0)}, "field"),
    ],
)  # fmt: skip
def test_bad_options_are_named(options, key):
    with pytest.raises(SceneError) as caught:
        HashField(**options)
    assert caught.value.where == key


def test_bad_options_of_a_frequency_field_are_named():
    with pytest.raises(SceneError, match="octaves"):
        FrequencyField(octaves=-1)
