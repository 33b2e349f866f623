"""Numbers as tables and sentences show them."""

import re

from ig3d_ray.evaluation.bootstrap import Interval


def short_number(value: float, decimals: int, sign: str = "") -> str:
    """A number without a leading zero, such as `.5000`, with this many decimals."""
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value + 0.0:{sign}.{decimals}f}")


def interval_text(interval: Interval) -> str:
    """A score with its interval, such as `0.8223 [.800, .844]`."""
    return f"{interval.value:.4f} [{short_number(interval.low, 3)}, {short_number(interval.high, 3)}]"
