"""SciPy's statistics, which the package doesn't import, as the oracle."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ig3d_ray.evaluation import distributions

COUNTS = st.tuples(st.integers(0, 3000), st.integers(1, 3000)).map(lambda pair: (min(pair), max(pair)))


@given(COUNTS, st.floats(0.001, 0.999))
def test_binomial_tails_and_intervals(counts: tuple[int, int], share: float) -> None:
    successes, trials = counts
    expected = stats.binom.cdf(successes, trials, share)
    assert distributions.binomial_cdf(successes, trials, share) == pytest.approx(expected, rel=1e-9, abs=1e-300)
    found = stats.binomtest(successes, trials)
    assert distributions.sign_test(successes, trials) == pytest.approx(found.pvalue, rel=1e-9, abs=1e-300)
    ends = found.proportion_ci(0.95, "exact")
    assert distributions.share_interval(successes, trials, 0.95) == pytest.approx((ends.low, ends.high), rel=1e-9)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=50).filter(lambda values: np.std(values) > 1e-6))
def test_t_test(values: list[float]) -> None:
    expected = stats.ttest_1samp(values, 0.0).pvalue
    assert distributions.t_test(np.array(values)) == pytest.approx(expected, rel=1e-6, abs=1e-300)


@given(st.floats(1e-6, 1 - 1e-6), st.integers(1, 5000))
def test_quantiles(share: float, freedom: int) -> None:
    assert distributions.normal_quantile(share) == pytest.approx(stats.norm.ppf(share), rel=1e-9, abs=1e-12)
    assert distributions.t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-6, abs=1e-9)


@given(st.floats(0, 10), st.floats(0.01, 10))
def test_the_mean_of_a_folded_normal(mean: float, spread: float) -> None:
    found = distributions.folded_normal_mean(np.array([mean]), np.array([spread]))
    assert found[0] == pytest.approx(stats.foldnorm.mean(mean / spread, scale=spread), rel=1e-9)
