"""The samples that fusion fixed and broke, with their images where these may be shown."""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ig3d_ray.data.images import open_image
from ig3d_ray.errors import Ig3dError
from ig3d_ray.report.findings import Findings

CHANGED_AT_MOST = 24
THUMBNAIL = 72
Thumbnail = Callable[[str], bytes | None]
"""The encoded image of a sample of the report set, None where there is none."""


@dataclass(frozen=True)
class ChangedSample:
    """A sample.

    Attributes:
        id: its sample_id.
        image: JPEG in base64, empty for none.
    """

    id: str
    image: str


@dataclass(frozen=True)
class Change:
    """Samples that changed in one way.

    Attributes:
        summary: the kind of change, and the number of samples.
        samples: the first of them.
    """

    summary: str
    samples: Sequence[ChangedSample]


def changes(findings: Findings, thumbnail: Thumbnail | None) -> list[Change]:
    """The samples that only the ensemble predicts correctly, and those that only the best single member does.

    Args:
        findings: of a search.
        thumbnail: gives images; None for none.
    """
    single = findings.board.best_single.result.members[0]
    found = []
    for ids, how in zip(findings.changed, ("right now and wrong before", "wrong now and right before"), strict=True):
        more = f", the first {CHANGED_AT_MOST} of them" if len(ids) > CHANGED_AT_MOST else ""
        samples = [ChangedSample(one, _encoded(one, thumbnail)) for one in ids[:CHANGED_AT_MOST]]
        found.append(Change(f"{len(ids)} {how} ({single} alone){more}:", samples))
    return found


def _encoded(sample_id: str, thumbnail: Thumbnail | None) -> str:
    data = thumbnail(sample_id) if thumbnail else None
    if data is None:
        return ""
    try:
        image = open_image(data, sample_id)
    except Ig3dError:
        return ""
    image.thumbnail((THUMBNAIL * 2, THUMBNAIL * 2))
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()
