"""Holm's adjustment by its definition, as an oracle."""


def holm(values: list[float]) -> list[float]:
    found = []
    for value in values:
        smaller = [p for p in values if p <= value]
        order = sorted(values)
        found.append(max(min(1.0, p * (len(values) - order.index(p))) for p in smaller))
    return found
