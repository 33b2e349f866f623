"""Quadratic programs over non-negative weights, against SciPy and the conditions of an optimum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from ig3d_ray.fusion.qp import minimize_quadratic


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 12), rank=st.integers(1, 15), twins=st.booleans())
def test_quadratics_meet_the_conditions_of_an_optimum(seed: int, count: int, rank: int, twins: bool) -> None:
    rng = np.random.default_rng(seed)
    factor, goal = rng.standard_normal((rank, count)), rng.standard_normal(rank)
    if twins and count > 1:
        factor[:, 1] = factor[:, 0]
    hessian, gradient = factor.T @ factor, -factor.T @ goal
    free = minimize_quadratic(hessian, gradient, None)
    expected, _ = nnls(factor, goal)
    assert free.min() >= 0
    assert np.linalg.norm(factor @ free - goal) == pytest.approx(np.linalg.norm(factor @ expected - goal), abs=1e-6)
    groups = np.arange(count) % min(2, count)
    # From wherever it starts.
    somewhere = rng.uniform(0, 1, count) * (rng.random(count) < 0.6)
    again = minimize_quadratic(hessian, gradient, None, start_K=somewhere)
    assert again.min() >= 0
    assert np.linalg.norm(factor @ again - goal) == pytest.approx(np.linalg.norm(factor @ expected - goal), abs=1e-6)
    alike = np.full(count, 1 / count)
    for total, of, start in ((1.0, np.zeros(count, dtype=int), None), (1.0, groups * 0, alike), (2.0, groups, None)):
        u = minimize_quadratic(hessian, gradient, total, of, start)
        slope = hessian @ u + gradient
        for group in np.unique(of):
            assert u[of == group].sum() == pytest.approx(total)
            # Karush, Kuhn, Tucker: nothing outside the support promises more than what is in it.
            assert slope[of == group].min() >= slope[(of == group) & (u > 1e-9)].max() - 1e-5
        assert u.min() >= 0
