"""T15: the density of a medium from eight views, here in smaller pictures than those of the problem."""

import pytest

from tidr.problems import volumes
from tidr.problems.runner import problems, solve


@pytest.mark.long
@pytest.mark.row(106)
@pytest.mark.parametrize("problem", problems(["T15"]), ids=lambda problem: problem.name)
def test_density_of_a_medium_is_found(f32, problem, monkeypatch):
    monkeypatch.setattr(volumes, "SIZE", 32)
    result = solve(problem, "march")
    assert result.solved, result
