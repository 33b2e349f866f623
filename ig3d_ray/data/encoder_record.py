"""Provenance of a data set's 3D parameters: the encoder used, so that new images are encoded in the same way."""

from dataclasses import asdict, dataclass

from ig3d_ray.data.representations import Representation
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import paths
from ig3d_ray.storage.json_files import sealed, unsealed
from ig3d_ray.storage.store import Store


@dataclass(frozen=True)
class EncoderRecord:
    """An encoder in the storage.

    Attributes:
        weights: the name of its weights in the storage.
        sha256: of them.
        landmarks: the name of the landmark model used to crop faces; None if images were used as they
            are.
    """

    weights: str
    sha256: str
    landmarks: str | None = None


def encoder_records(store: Store, dataset: str) -> dict[str, EncoderRecord]:
    """Representation -> the encoder that produced the data set's parameters; imported parameters have none.

    Raises:
        Ig3dError: the file is broken.
    """
    if not store.exists(paths.encoder_records(dataset)):
        return {}
    try:
        content = unsealed(store.read(paths.encoder_records(dataset)))
        return {representation: EncoderRecord(**record) for representation, record in content.items()}
    except (ValueError, TypeError, AttributeError) as error:
        where = store.locate(paths.encoder_records(dataset))
        raise Ig3dError(
            f"{where}: not a record of encoders ({str(error)[:90]}); delete it and extract again"
        ) from error


def forget_encoders(store: Store, dataset: str) -> None:
    """Remove the encoder records of a data set whose parameters may have been replaced: the encoders are unknown."""
    store.remove(paths.encoder_records(dataset))


def write_encoder_record(
    store: Store, dataset: str, representation: Representation, record: EncoderRecord | None
) -> None:
    """Record which encoder produced a representation; None if unknown."""
    records = encoder_records(store, dataset)
    if records.get(representation) == record:
        return
    records.pop(representation, None)
    if record is not None:
        records[representation] = record
    content = {name: asdict(one) for name, one in records.items()}
    store.write(paths.encoder_records(dataset), sealed(content).encode())
