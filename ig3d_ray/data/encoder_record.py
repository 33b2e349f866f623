"""Which encoder a data set's 3D parameters came from, so that new images are encoded in the same way."""

import json
from dataclasses import asdict, dataclass

from ig3d_ray.data.representations import Representation
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.store import Store


@dataclass(frozen=True)
class EncoderRecord:
    """An encoder in the storage.

    Attributes:
        weights: the name of its weights in the storage.
        sha256: of them.
        landmarks: the name of the landmark model that faces were cropped by; None: images were taken as they
            are.
    """

    weights: str
    sha256: str
    landmarks: str | None = None


def encoder_records(store: Store, dataset: str) -> dict[str, EncoderRecord]:
    """Representation -> the encoder that gave the data set's parameters; those that were imported have none.

    Raises:
        Ig3dError: the file is broken.
    """
    if not store.exists(paths.encoder_records(dataset)):
        return {}
    try:
        content = json.loads(store.read(paths.encoder_records(dataset)))
        return {representation: EncoderRecord(**record) for representation, record in content.items()}
    except (ValueError, TypeError, AttributeError) as error:
        where = store.locate(paths.encoder_records(dataset))
        raise Ig3dError(f"{where}: not a record of encoders; delete it and extract again") from error


def forget_encoders(store: Store, dataset: str) -> None:
    """Its parameters are others now: no encoder here is known to have given them."""
    store.remove(paths.encoder_records(dataset))


def write_encoder_record(
    store: Store, dataset: str, representation: Representation, record: EncoderRecord | None
) -> None:
    """Say which encoder a representation is from; None: from nowhere that is known."""
    records = encoder_records(store, dataset)
    if records.get(representation) == record:
        return
    records.pop(representation, None)
    if record is not None:
        records[representation] = record
    content = {name: asdict(one) for name, one in records.items()}
    store.write(paths.encoder_records(dataset), json.dumps(content, sort_keys=True, indent=2).encode() + b"\n")
