"""Requests of several clients answered together, with one pass of the ensemble over all of their images."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from ig3d_ray.ensembles.inputs import Item
from ig3d_ray.ensembles.parameters import Parameters
from ig3d_ray.ensembles.predictor import Ensemble
from ig3d_ray.ensembles.requests import BROKEN, UNUSABLE, RefusedError, Request
from ig3d_ray.errors import Ig3dError

Answer = dict[str, Any]


def answer_together(ensemble: Ensemble, requests: Sequence[Request]) -> list[Answer | RefusedError]:
    """The response to each request, or the reason for refusing it; requests don't affect each other."""
    items = [Item(f"{r}/{item.name}", item.content) for r, request in enumerate(requests) for item in request.items]
    given: dict[str, Parameters] = {}
    for name in sorted({name for request in requests for name in request.given}):
        found = {
            f"{r}/{row}": vector
            for r, request in enumerate(requests)
            for row, vector in enumerate(request.given.get(name, ()))
            if vector is not None
        }
        if found:
            given[name] = Parameters({k: i for i, k in enumerate(found)}, np.stack(list(found.values())), exact=True)
    try:
        batches = list(ensemble.stream(items, "fallback", given))
    except Exception as error:
        # One of them may be the cause, and the others must still be answered.
        if len(requests) > 1:
            return [answer for request in requests for answer in answer_together(ensemble, [request])]
        if isinstance(error, Ig3dError):
            return [RefusedError(UNUSABLE, str(error))]
        logging.getLogger(__name__).exception("a request could not be answered")
        return [RefusedError(BROKEN, "internal error; see the log of the service")]
    rows = {
        str(row["sample_id"]): {str(k): v for k, v in row.items()}
        for batch in batches
        for row in batch.frame.to_dict("records")
    }
    excluded = {name: why for batch in batches for name, why in batch.excluded}
    return [_answer(number, request, rows, excluded) for number, request in enumerate(requests)]


def _answer(number: int, request: Request, rows: dict[str, Answer], excluded: dict[str, str]) -> Answer | RefusedError:
    predictions, without = [], {}
    for item in request.items:
        name = f"{number}/{item.name}"
        lacked = excluded.get(name) or (f"{rows[name]['missing']} missing" if rows[name]["missing"] else "")
        if lacked and request.missing == "fail":
            return RefusedError(UNUSABLE, f"image {item.name}: {lacked}; `missing` may be skip or fallback")
        if name in excluded or (lacked and request.missing == "skip"):
            without[item.name] = lacked
            continue
        predictions.append({**rows[name], "sample_id": item.name})
    return {"predictions": predictions, "excluded": without}
