"""What is wrong with a cluster file, and the rules that hold for every kind of one: versions and secrets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    """A setting that will fail, incur costs, or allow unauthorized access.

    Attributes:
        rule: its name.
        where: the field, such as `available_node_types.gpu.resources`.
        message: what is wrong and what to do, one line.
        in_file: whether the file can be changed so that it is right; otherwise the message says what to do besides.
    """

    rule: str
    where: str
    message: str
    in_file: bool = True


_SECRETS = {
    "an AWS access key": re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"),
    "an AWS secret key": re.compile(r"aws_?secret_?access_?key[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9/+=]{20,}", re.I),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a storage account key": re.compile(r"AccountKey=[A-Za-z0-9/+=]{20,}|[?&]sig=[A-Za-z0-9%/+=]{20,}"),
    "a Ray token": re.compile(r"RAY_AUTH_TOKEN[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9_-]{16,}"),
    "a token": re.compile(r"\b(ghp_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,}|xox[bp]-[A-Za-z0-9-]{20,})"),
}
_PLACEHOLDER = re.compile(r"YOUR[-_]?[A-Z]+|\bREGISTRY/|\byour-[a-z-]+")
_MOVING_TAGS = ("latest", "nightly", "master", "main")


def secrets(text: str) -> Iterator[Fault]:
    """Keys and tokens written into the file: every reader of the file has them, and Ray copies it to every machine."""
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in _SECRETS.items():
            if pattern.search(line):
                way_out = "use the machines' role (IamInstanceProfile, serviceAccounts, serviceAccountName) or a file"
                yield Fault("secret", f"line {number}", f"holds {what}; take it out and revoke it: {way_out}")


def placeholders(text: str) -> Iterator[Fault]:
    """Placeholders of an example that must be replaced."""
    for number, line in enumerate(text.splitlines(), 1):
        found = _PLACEHOLDER.search(line.split("#")[0])
        if found:
            yield Fault("placeholder", f"line {number}", f"{found[0].rstrip('/')}: replace this placeholder")


def unpinned_image(where: str, image: object) -> Iterator[Fault]:
    """An image without a version can change at any time."""
    name = str(image).rsplit("/", 1)[-1]
    tag = name.partition(":")[2] if "@" not in name else name.partition("@")[2]
    if not tag or any(tag == moving or tag.startswith(f"{moving}-") for moving in _MOVING_TAGS):
        yield Fault("version", where, f"{image}: no fixed version; name one, such as rayproject/ray:2.60.0-py311-gpu")


def unpinned_packages(where: str, command: str) -> Iterator[Fault]:
    """What `pip install` takes without a version, a constraints file or a folder."""
    for part in re.split(r"&&|\|\||;|\n", command):
        found = re.search(r"\bpip3? install\b(.*)", part)
        if found is None or re.search(r"(^|\s)(-c|--constraint|-r|--requirement)\b", found[1]):
            continue
        for word in found[1].split():
            name = word.strip("'\"")
            is_package = not name.startswith("-") and not name.startswith((".", "/", "~", "$"))
            if is_package and "==" not in name and "@" not in name and not name.endswith(".whl"):
                message = f"pip install {name}: no version; write {name}==VERSION, or give --constraint constraints.txt"
                yield Fault("version", where, message)


def at(content: object, *path: str | int) -> Any:
    """The value at a path of nested mappings and lists; None if there is none."""
    for step in path:
        if isinstance(content, dict):
            content = content.get(step)
        elif isinstance(content, list) and isinstance(step, int) and step < len(content):
            content = content[step]
        else:
            return None
    return content


def mapping(content: object) -> dict[Any, Any]:
    """The content if it is a mapping, else an empty one: a wrong type is reported by the schema."""
    return content if isinstance(content, dict) else {}


def count(content: object) -> int:
    """The content if it is a whole number, else 0: a wrong type is reported by the schema."""
    return content if isinstance(content, int) else 0


def items(content: object) -> list[Any]:
    """The content if it is a list, else an empty one."""
    return content if isinstance(content, list) else []
