"""All keys of a store: where each file is stored under the storage URI. No other module defines keys."""

from typing import NamedTuple

TRAIN = "train"
"""Ray Train's working folder."""
TUNE = "tune"
"""Ray Tune's working folder."""
LEASES = "leases"
DECLARED_DATASETS = "declarations/datasets"
DECLARED_REPRESENTATIONS = "declarations/representations"
ROUNDS = "rounds"
"""The folder of a search's journal, inside the search's folder."""
SPEC_FILE = "best_ensemble.json"
TRAINED_FILES = frozenset({"checkpoint.pt", "spec.json"})
"""The files in a trained member's folder; the spec is written last."""
_SPEC_DEPTH = 4
"""Parts of a spec's key: searches/<dataset>/<search>/best_ensemble.json."""


def dataset_folder(dataset: str) -> str:
    """The folder of a data set."""
    return f"datasets/{dataset}"


def declaration(dataset: str) -> str:
    """The declaration of a user's own data set; not below its folder, so that all can be listed quickly."""
    return f"{DECLARED_DATASETS}/{dataset}.json"


def declared_representation(name: str) -> str:
    """The declaration of a user's own representation."""
    return f"{DECLARED_REPRESENTATIONS}/{name}.json"


def parameter_table(dataset: str, representation: str, digest: str) -> str:
    """The parameters of a data set's samples in one representation, by a hash of their content."""
    return f"{parameters_folder(dataset)}/{representation}-{digest}.parquet"


def parameters_folder(dataset: str) -> str:
    """The folder of a data set's parameters."""
    return f"{dataset_folder(dataset)}/parameters"


def samples_table(dataset: str) -> str:
    """The samples table of a data set."""
    return f"{dataset_folder(dataset)}/samples.parquet"


def labels_table(dataset: str, split: str) -> str:
    """Labels of one split that came with imported predictions."""
    return f"{dataset_folder(dataset)}/labels-{split}.parquet"


def dataset_file(dataset: str, file: str) -> str:
    """An image of a data set, or a pack of images, by its name in the samples table."""
    return f"{dataset_folder(dataset)}/{file}"


def skipped_files(dataset: str) -> str:
    """The list of inputs that were excluded, with reasons."""
    return f"{dataset_folder(dataset)}/skipped.csv"


def copies(dataset: str) -> str:
    """The list of copies among the images of a data set, as of its import."""
    return f"{dataset_folder(dataset)}/copies.csv"


def encoder_records(dataset: str) -> str:
    """The record of the encoders used to extract a data set's 3D parameters."""
    return f"{dataset_folder(dataset)}/encoders.json"


def drawing_record(dataset: str) -> str:
    """The record of how a synthetic data set was drawn."""
    return f"{dataset_folder(dataset)}/drawn.json"


def encoder_weights(representation: str, digest: str) -> str:
    """The weights of an encoder, by their SHA-256 in hex."""
    return f"encoders/{representation}-{digest[:16]}.pt"


def landmark_model(digest: str) -> str:
    """A face-landmark model, by its SHA-256 in hex."""
    return f"encoders/landmarks-{digest[:16]}.task"


def extraction_folder(dataset: str, representation: str, key: str) -> str:
    """The working folder of an extraction of 3D parameters."""
    return f"extracted/{dataset}/{representation}-{key}"


def start_weights(name: str) -> str:
    """Imported weights used as starting points for training."""
    return f"weights/{name}.pt"


def members_folder(dataset: str) -> str:
    """The folder of a data set's trained members."""
    return f"members/{dataset}"


def member_folder(dataset: str, fingerprint: str) -> str:
    """The folder of one trained member."""
    return f"{members_folder(dataset)}/{fingerprint}"


def checkpoint(dataset: str, fingerprint: str) -> str:
    """The weights of a trained member."""
    return f"{member_folder(dataset, fingerprint)}/checkpoint.pt"


def member_spec(dataset: str, fingerprint: str) -> str:
    """The spec of a trained member."""
    return f"{member_folder(dataset, fingerprint)}/spec.json"


def history(dataset: str, fingerprint: str) -> str:
    """The metrics of each epoch of a training."""
    return f"{member_folder(dataset, fingerprint)}/history.parquet"


def event_folder(dataset: str, fingerprint: str) -> str:
    """TensorBoard's event files of a training."""
    return f"{member_folder(dataset, fingerprint)}/tensorboard"


def last_good_weights(dataset: str, fingerprint: str) -> str:
    """The best weights of a training that failed."""
    return f"{member_folder(dataset, fingerprint)}/last_good.pt"


def failure(dataset: str, fingerprint: str) -> str:
    """The reason why a training run failed."""
    return f"{member_folder(dataset, fingerprint)}/failed.json"


def logits_folder(dataset: str) -> str:
    """The folder of a data set's logit tables."""
    return f"logits/{dataset}"


def logit_table(dataset: str, fingerprint: str, split: str) -> str:
    """The logit table of one member on one split."""
    return f"{logits_folder(dataset)}/{fingerprint}/{split}.parquet"


class LogitKey(NamedTuple):
    """The parts of a logit table's key."""

    dataset: str
    fingerprint: str
    split: str


def parse_logit_table(key: str) -> LogitKey | None:
    """The parts of a logit table's key; None for another key."""
    parts = key.split("/")
    if len(parts) != 4 or parts[0] != "logits" or not parts[3].endswith(".parquet"):
        return None
    return LogitKey(parts[1], parts[2], parts[3].removesuffix(".parquet"))


def files_by_folder(names: list[str], folder: str) -> dict[str, set[str]]:
    """Keys below a folder as subfolder -> the files in it."""
    found: dict[str, set[str]] = {}
    for name in names:
        subfolder, _, file = name.removeprefix(f"{folder}/").partition("/")
        found.setdefault(subfolder, set()).add(file)
    return found


def searches_folder(dataset: str) -> str:
    """The folder of a data set's searches."""
    return f"searches/{dataset}"


def search_folder(dataset: str, name: str, identity: str) -> str:
    """The folder of one search: the name of its search space, and a hash of everything that determines its result."""
    return f"{searches_folder(dataset)}/{name}-{identity}"


class SearchKey(NamedTuple):
    """The parts of a search's folder."""

    dataset: str
    search: str

    @property
    def label(self) -> str:
        """`<dataset>/<search>`, the name shown to users and in trackers."""
        return f"{self.dataset}/{self.search}"

    @property
    def space(self) -> str:
        """The name of the search space, without the hash."""
        return self.search.rsplit("-", 1)[0]


def parse_search(key: str) -> SearchKey:
    """The data set and the search of a folder, or of a file below it, in a store or as a full URI."""
    parts = key.rstrip("/").split("/")
    if parts[-1] == SPEC_FILE:
        parts.pop()
    if "searches" in parts[:-2]:
        at = len(parts) - 1 - parts[::-1].index("searches")
        return SearchKey(parts[at + 1], parts[at + 2])
    return SearchKey(*parts[-2:]) if len(parts) > 1 else SearchKey("", parts[0])


def search_space(folder: str) -> str:
    """The search space of a search, as YAML."""
    return f"{folder}/space.yaml"


def candidates(folder: str) -> str:
    """All scored candidates of a search."""
    return f"{folder}/candidates.parquet"


def ensemble_spec(folder: str) -> str:
    """The exported ensemble of a search; written last, so its presence means that the search is finished."""
    return f"{folder}/{SPEC_FILE}"


def run_record(folder: str) -> str:
    """What varies between runs of one search, such as its time."""
    return f"{folder}/run.json"


def evaluations(dataset: str, split: str, digest: str) -> str:
    """The folder of the evaluations on a report set, by its labels."""
    return f"evaluations/{dataset}/{split}-{digest[:16]}"


def report(folder: str) -> str:
    """The HTML report of a search."""
    return f"{folder}/report.html"


def rounds(folder: str) -> str:
    """The journal of a search in progress."""
    return f"{folder}/{ROUNDS}"


def journal_round(folder: str, number: int) -> str:
    """One round of a search's journal."""
    return f"{rounds(folder)}/{number:06d}.parquet"


def storage_of_spec(uri: str) -> str | None:
    """The storage that contains a published spec; None if there is none."""
    parts = uri.rsplit("/", _SPEC_DEPTH)
    return parts[0] if len(parts) > _SPEC_DEPTH and parts[1] == "searches" else None


def train_folder(run: str) -> str:
    """Ray Train's files of one run."""
    return f"{TRAIN}/{run}"


def tune_folder(search: str) -> str:
    """Ray Tune's files of one search."""
    return f"{TUNE}/{search}"


def first_folders(names: list[str], folder: str) -> set[str]:
    """The folders directly below a folder, from the keys below it."""
    return {name.removeprefix(f"{folder}/").split("/", 1)[0] for name in names}


def lease_folder(name: str) -> str:
    """All leases of one name, numbered."""
    return f"{LEASES}/{name}"


def lease(name: str, number: int) -> str:
    """One lease of a name."""
    return f"{lease_folder(name)}/{number:06d}"


class LeaseKey(NamedTuple):
    """The parts of a lease's key."""

    name: str
    number: int


def parse_lease(key: str) -> LeaseKey | None:
    """The name and the number of a lease; None for another key."""
    name, _, number = key.removeprefix(f"{LEASES}/").rpartition("/")
    return LeaseKey(name, int(number)) if number.isdecimal() else None


def heartbeats() -> str:
    """The heartbeats of all drivers."""
    return f"{LEASES}/drivers"


def heartbeat(token: str) -> str:
    """The heartbeat of one driver."""
    return f"{heartbeats()}/{token}.json"


def member_lease(dataset: str, fingerprint: str) -> str:
    """The name under which a member's training is leased."""
    return member_folder(dataset, fingerprint)


def run_lease(run: str) -> str:
    """The name under which a Ray Train run is leased."""
    return f"runs/{run}"


def timings_folder(dataset: str) -> str:
    """The durations of trainings on a data set."""
    return f"timings/{dataset}"


def timing_log(dataset: str, driver: str) -> str:
    """The durations of the trainings of one driver."""
    return f"{timings_folder(dataset)}/{driver}.json"
