"""T15: the density of a medium from eight views."""

import pytest

from tidr.problems.runner import problems, solve


@pytest.mark.row(106)
@pytest.mark.parametrize("problem", problems(["T15"]), ids=lambda problem: problem.name)
def test_density_of_a_medium_is_found(f32, problem):
    result = solve(problem, "march")
    assert result.solved, result
