"""Which Gaussians come and go: thresholds, what is kept, and the closed forms of relocation."""

import numpy as np
import pytest

from tidr.fitting.density_steps import adapted, logit, relocated, shared, sigmoid
from tidr.fitting.settings import DensifySettings

HOW = DensifySettings(gradient_threshold=1.0, clone_share=0.1, prune_opacity=0.05, reset_every=100, max_count=1000)


def rows(scales, opacities, seed: int = 0, dtype=np.float32) -> dict[str, np.ndarray]:
    """Gaussians of these largest scales and opacities, else random."""
    rng = np.random.default_rng(seed)
    count = len(scales)
    logs = np.log(np.asarray(scales, float))[:, None] - [0, 0.5, 1]
    values = {
        "means": rng.normal(size=(count, 3)),
        "log_scales": logs,
        "rotations": rng.normal(size=(count, 4)),
        "opacity_logits": logit(np.asarray(opacities, float))[:, None],
        "sh_dc": rng.normal(size=(count, 3)),
        "sh_rest": rng.normal(size=(count, 3, 3)),
    }
    return {name: array.astype(dtype) for name, array in values.items()}


def adapt(cloud, gradients, radii=None, how=HOW, extent: float = 1.0, step: int = 50):
    radii = np.zeros(len(gradients)) if radii is None else np.asarray(radii, float)
    return adapted(cloud, np.asarray(gradients, float), radii, how, extent, step, np.random.default_rng(0))


def test_nothing_happens_below_the_threshold():
    assert adapt(rows([0.01, 0.5, 0.2], [0.5] * 3), [0.99, 0, 0.5]) is None


def test_small_ones_are_cloned_and_large_ones_split():
    cloud = rows([0.05, 0.5, 0.05, 0.2], [0.5, 0.6, 0.7, 0.8])
    change = adapt(cloud, [2, 2, 0, 0])
    assert change is not None
    assert change.source.tolist() == [0, 2, 3, 0, 1, 1]
    assert change.fresh.tolist() == [False] * 3 + [True] * 3
    for name, array in cloud.items():
        assert change.values[name].dtype == array.dtype
        assert np.array_equal(change.values[name][:4], array[[0, 2, 3, 0]]), name  # what is kept, and the clone
    np.testing.assert_allclose(np.exp(change.values["log_scales"][4:]), np.exp(cloud["log_scales"][[1, 1]]) / 1.6, 1e-6)
    for name in ("rotations", "opacity_logits", "sh_dc", "sh_rest"):
        assert np.array_equal(change.values[name][4:], cloud[name][[1, 1]])
    assert not np.array_equal(change.values["means"][4], change.values["means"][5])


def test_halves_are_drawn_from_the_gaussian_that_was_split():
    from tidr.scene.gaussians import rotation_matrices

    cloud = {name: np.repeat(array, 4000, 0) for name, array in rows([0.5], [0.5], dtype=np.float64).items()}
    change = adapt(cloud, [2.0] * 4000, how=DensifySettings(gradient_threshold=1.0, max_count=10_000))
    assert change is not None
    away = change.values["means"] - cloud["means"][0]
    axes = rotation_matrices(cloud["rotations"][:1])[0] * np.exp(cloud["log_scales"][0])
    assert np.abs(away.mean(0)).max() < 0.02
    np.testing.assert_allclose(np.cov(away.T), axes @ axes.T, atol=0.01)


def test_faint_ones_go_and_after_the_first_reset_large_ones_too():
    cloud = rows([0.05, 0.05, 0.5, 0.05], [0.5, 0.04, 0.5, 0.5])
    radii = [3, 3, 3, 30]
    change = adapt(cloud, [0] * 4, radii, step=100)
    assert change is not None
    assert change.source.tolist() == [0, 2, 3]
    change = adapt(cloud, [0] * 4, radii, step=101)
    assert change is not None
    assert change.source.tolist() == [0]
    # What has just been made has not been seen yet.
    change = adapt(cloud, [0, 0, 0, 5], radii, step=101)
    assert change is not None
    assert change.source.tolist() == [0, 3]
    assert change.fresh.tolist() == [False, True]
    none = adapt(rows([0.05, 0.05], [0.01, 0.02]), [0, 0])
    assert none is not None
    assert none.source.tolist() == [1]


def test_the_limit_takes_the_largest_gradients_first():
    cloud = rows([0.05] * 6, [0.5] * 6)
    change = adapt(cloud, [2, 5, 3, 9, 1, 4], how=DensifySettings(gradient_threshold=1.0, clone_share=0.1, max_count=8))
    assert change is not None
    assert sorted(change.source[change.fresh].tolist()) == [1, 3]
    full = DensifySettings(gradient_threshold=1.0, max_count=6)
    assert adapt(cloud, [2, 5, 3, 9, 1, 4], how=full) is None


@pytest.mark.parametrize("copies", [1, 2, 3, 7, 20, 51])
@pytest.mark.parametrize("opacity", [0.006, 0.1, 0.5, 0.95, 0.999])
def test_copies_at_one_place_look_as_the_one_did(opacity, copies):
    each, factor = shared(np.array([opacity]), np.array([copies]))
    assert 1 - (1 - each[0]) ** copies == pytest.approx(opacity, rel=1e-12)
    x = np.linspace(-12, 12, 100_001)
    one = np.trapezoid(opacity * np.exp(-0.5 * x * x), x)
    width = factor[0]
    together = np.trapezoid(1 - (1 - each[0] * np.exp(-0.5 * (x / width) ** 2)) ** copies, x)
    assert together == pytest.approx(one, rel=1e-6)


def test_dead_ones_move_to_live_ones():
    cloud = rows([0.1, 0.2, 0.3, 0.4], [0.01, 0.9, 0.02, 0.8])
    how = DensifySettings(method="mcmc", prune_opacity=0.05, growth=0.0)
    change = relocated(cloud, how, np.random.default_rng(3))
    assert change is not None
    assert len(change.source) == 4
    targets = change.source[[0, 2]]
    assert set(targets.tolist()) <= {1, 3}
    for row, target in zip((0, 2), targets, strict=True):
        for name in ("means", "rotations", "sh_dc", "sh_rest"):
            assert np.array_equal(change.values[name][row], cloud[name][target])
        for name in ("opacity_logits", "log_scales"):
            assert np.array_equal(change.values[name][row], change.values[name][target])
    for target in set(targets.tolist()):
        copies = 1 + int((targets == target).sum())
        before = sigmoid(cloud["opacity_logits"][target])
        after, factor = shared(before, np.array([copies]))
        np.testing.assert_allclose(sigmoid(change.values["opacity_logits"][target]), after, rtol=1e-5)
        moved = change.values["log_scales"][target] - cloud["log_scales"][target]
        np.testing.assert_allclose(moved, np.log(factor[0]), atol=1e-6)
    assert change.fresh.tolist() == [True, 1 in targets, True, 3 in targets]


def test_targets_are_drawn_by_opacity():
    opacities = np.concatenate([[0.2, 0.6], np.full(8000, 0.01)])
    how = DensifySettings(method="mcmc", prune_opacity=0.05, growth=0.0)
    change = relocated(rows(np.full(8002, 0.1), opacities), how, np.random.default_rng(0))
    assert change is not None
    assert np.mean(change.source[2:] == 1) == pytest.approx(0.75, abs=0.02)


def test_the_count_grows_by_a_share_up_to_the_limit():
    cloud = rows(np.full(100, 0.1), np.full(100, 0.5))
    how = DensifySettings(method="mcmc", growth=0.05, max_count=103)
    change = relocated(cloud, how, np.random.default_rng(0))
    assert change is not None
    assert len(change.values["means"]) == 103
    change = relocated(cloud, DensifySettings(method="mcmc", growth=0.05), np.random.default_rng(0))
    assert change is not None
    assert len(change.values["means"]) == 105
    assert change.fresh[100:].all()
    assert change.fresh.sum() == 5 + len(set(change.source[100:].tolist()))
    untouched = np.flatnonzero(~change.fresh)
    for name, array in cloud.items():
        assert np.array_equal(change.values[name][untouched], array[untouched]), name
    full = DensifySettings(method="mcmc", growth=0.05, max_count=100)
    assert relocated(cloud, full, np.random.default_rng(0)) is None
