"""The service: what it answers, what it refuses and with which status, and many asking at the same time."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from trained import World

from ig3d_ray import load_ensemble
from ig3d_ray.ensembles.inputs import Item
from ig3d_ray.ensembles.requests import Limits, RefusedError, Request, parse_request
from ig3d_ray.ensembles.service import answer_together
from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage.json_files import unsealed

JSON = "application/json"


def png(width: int = 64, height: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 150)).save(buffer, "png")
    return buffer.getvalue()


def ico() -> bytes:
    """A form that Pillow decodes before it tells the size."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "ico")
    return buffer.getvalue()


def body(**content: Any) -> bytes:
    return json.dumps(content).encode()


PICTURE = base64.b64encode(png()).decode()


@pytest.mark.parametrize(
    ("kind", "content", "status", "why"),
    [
        ("image/png", b"", 422, "image 0: not an image"),
        ("image/png", png()[:60], 422, "image 0: not an image"),
        ("image/png", png(3000, 3000), 413, "3000 x 3000 pixels; at most 4000000"),
        ("image/x-icon", ico(), 422, "image 0: not an image"),
        (JSON, body(images=[base64.b64encode(png(1500, 1500)).decode()] * 3), 413, "6750000 pixels in all"),
        ("image/png", b"\0" * 100_001, 413, "a body of more than 100000 bytes"),
        ("text/html", b"<html>", 415, "send image/... or application/json"),
        ("", png(), 415, "Content-Type 'missing'"),
        (JSON, b"{", 400, "not JSON"),
        (JSON, b"[1]", 400, "JSON, but no object"),
        (JSON, body(), 400, "give images, parameters"),
        (JSON, body(images=[]), 400, "images: List should have at least 1 item"),
        (JSON, body(pixels=[PICTURE]), 400, "unknown field 'pixels'"),
        (JSON, body(images=["%%%"]), 400, "images.0: not base64"),
        (JSON, body(images=[7]), 400, "images.0: Input should be a valid string"),
        (JSON, body(images=[base64.b64encode(b"GIF89a").decode()]), 422, "image 0: not an image"),
        (JSON, body(images=[PICTURE], missing="guess"), 400, "missing: Input should be 'fail', 'skip' or 'fallback'"),
        (JSON, body(images=[PICTURE] * 2, parameters={"smirk": [[0.0] * 358]}), 400, "an equal number of both"),
        (JSON, body(parameters={"smirk": [[0.0] * 357]}), 422, "parameters.smirk.0: not 358 finite numbers"),
        (JSON, body(parameters={"emoca": [["a"] * 334]}), 422, "parameters.emoca.0: not 334 numbers"),
        (JSON, body(images=[PICTURE] * 65), 413, "65 images at once; at most 64"),
        (JSON, b'{"parameters": {"smirk": [[' + b"1e999," * 357 + b"1]]}}", 400, "not JSON|finite"),
    ],
)
def test_what_is_refused(kind: str, content: bytes, status: int, why: str) -> None:
    with pytest.raises(RefusedError, match=why.replace("...", r"\.\.\.")) as refused:
        parse_request(kind, content, Limits(body=100_000, pixels=4_000_000, all_pixels=5_000_000))
    assert refused.value.status in (status, 422)
    assert "\n" not in refused.value.why


def test_a_request_at_fault_costs_the_others_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = load_ensemble(world.uri, device="cpu")
    stream = ensemble.stream

    def breaks(items: Any, *more: Any) -> Any:
        listed = list(items)
        if any(item.content == b"breaks" for item in listed):
            raise MemoryError
        return stream(listed, *more)

    monkeypatch.setattr(ensemble, "stream", breaks)
    good = parse_request(JSON, body(images=[PICTURE], missing="fallback"), Limits())
    broken = Request([Item("0", b"breaks")], {}, "fallback")
    first, second, third = answer_together(ensemble, [good, broken, good])
    assert isinstance(first, dict)
    assert first == third
    assert isinstance(second, RefusedError)
    assert second.status == 500


def test_requests_that_are_answered_together_get_what_they_would_alone(world: World) -> None:
    ensemble = load_ensemble(world.uri, device="cpu")
    _, contents = world.images()
    part = world.samples.in_split("test").with_feature("image").with_feature("smirk").with_feature("emoca")
    emoca = part.params("emoca").tolist()
    images = [base64.b64encode(content).decode() for content in contents[:6]]
    requests = [
        parse_request(JSON, body(images=images[:3], parameters={"emoca": emoca[:3]}), Limits()),
        parse_request(JSON, body(images=images[3:5], parameters={"emoca": [None, emoca[4]]}), Limits()),
        parse_request(JSON, body(images=images[3:5], parameters={"emoca": [None, emoca[4]]}, missing="skip"), Limits()),
        parse_request(JSON, body(parameters={"emoca": emoca[:1]}, missing="fallback"), Limits()),
        parse_request("image/png", contents[5], Limits()),
    ]
    together = answer_together(ensemble, requests)
    for one, answer in zip(requests, together, strict=True):
        (alone,) = answer_together(ensemble, [one])
        if isinstance(answer, RefusedError):
            assert isinstance(alone, RefusedError)
            continue
        assert isinstance(alone, dict)
        assert [p["predicted"] for p in alone["predictions"]] == [p["predicted"] for p in answer["predictions"]]
        for mine, theirs in zip(alone["predictions"], answer["predictions"], strict=True):
            assert mine["probability_Happy"] == pytest.approx(theirs["probability_Happy"], abs=1e-5)
    first, second, third, fourth, fifth = together
    assert isinstance(first, dict)
    frame = ensemble.predict(contents[:3], parameters={"emoca": part.params("emoca")[:3]})
    assert [p["predicted"] for p in first["predictions"]] == frame["predicted"].tolist()
    assert isinstance(second, RefusedError)
    assert "image 0: emoca missing" in second.why
    assert isinstance(third, dict)
    assert list(third["excluded"]) == ["0"]
    assert [p["sample_id"] for p in third["predictions"]] == ["1"]
    assert isinstance(fourth, dict)
    assert fourth["predictions"][0]["missing"] == "image, smirk"
    assert isinstance(fifth, RefusedError)


@contextmanager
def serving(spec: str | Path, place: Path, *more: str) -> Iterator[tuple[str, Path]]:
    """`ig3d serve` of a spec: its URL, and what it logs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = place / "service.log"
    words = [sys.executable, "-m", "ig3d_ray", "serve", str(spec), "--port", str(port), *more]
    with log.open("wb") as lines:
        running = subprocess.Popen(words, stdout=lines, stderr=lines, start_new_session=True)
    deadline = time.monotonic() + 150
    while "/predict answers" not in log.read_text() and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.2)
    assert "/predict answers" in log.read_text(), log.read_text()
    yield f"http://127.0.0.1:{port}", log
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0
    assert "Traceback" not in log.read_text()


@dataclass(frozen=True)
class Service:
    """The one service of these tests.

    Attributes:
        url: of it. live: the file whose spec it serves, which it watches. log: what it logs.
    """

    url: str
    live: Path
    log: Path

    def serves(self) -> str:
        """The SHA-256 of the spec that answers."""
        return str(json.loads(ask(f"{self.url}/version")[1])["spec_sha256"])


@pytest.fixture(scope="module")
def watching(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    live = Path(shutil.copy(world.uri, folder / "live.json"))
    with serving(live, folder, "--storage", world.store.uri, "--watch") as (url, log):
        yield Service(url, live, log)


@pytest.fixture
def service(watching: Service) -> str:
    return watching.url


def ask(url: str, content: bytes | None = None, kind: str = JSON) -> tuple[int, Any]:
    asked = urllib.request.Request(url, content, {"Content-Type": kind} if content is not None else {})
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.slow
def test_many_ask_at_the_same_time_and_some_ask_wrongly(service: str, world: World) -> None:
    _, contents = world.images()
    part = world.samples.in_split("test").with_feature("image").with_feature("smirk").with_feature("emoca")
    images = [base64.b64encode(content).decode() for content in contents]
    rows = len(images)
    good = [
        body(images=[images[i % rows]], parameters={"emoca": [part.params("emoca")[i % rows].tolist()]})
        for i in range(200)
    ]
    hostile = [
        (png()[:50], "image/png", 422),
        (b"\0" * (17 * 2**20), "image/png", 413),
        (b"<html>", "text/html", 415),
        (b"{", JSON, 400),
        (png(6000, 6000), "image/png", 413),
    ] * 4
    wanted = (
        load_ensemble(world.uri, device="cpu")
        .predict(contents, parameters={"emoca": part.params("emoca")})["predicted"]
        .tolist()
    )
    with ThreadPoolExecutor(64) as pool:
        answers = [pool.submit(ask, f"{service}/predict", content) for content in good]
        refused = [(pool.submit(ask, f"{service}/predict", c, kind), status) for c, kind, status in hostile]
        found = [answer.result() for answer in answers]
        for answer, status in refused:
            assert answer.result()[0] == status
    assert {status for status, _ in found} == {200}
    labels = [json.loads(text)["predictions"][0]["predicted"] for _, text in found]
    assert labels == [wanted[i % rows] for i in range(200)]
    status, text = ask(f"{service}/predict?missing=fallback", contents[0], "image/png")
    assert (status, json.loads(text)["predictions"][0]["missing"]) == (200, "emoca")
    assert ask(f"{service}/predict?missing=guess", contents[0], "image/png")[0] == 400
    status, text = ask(f"{service}/healthz")
    assert (status, json.loads(text)["dataset"]) == (200, "faces")
    message = ask(f"{service}/metrics")[1]
    assert 'ig3d_requests_total{status="200"} 201.0' in message
    assert 'ig3d_requests_total{status="413"} 8.0' in message
    assert "/predict" in json.loads(ask(f"{service}/openapi.json")[1])["paths"]


@pytest.mark.slow
def test_nobody_else_reaches_it_unasked(service: str) -> None:
    port = int(service.rsplit(":", 1)[1])
    listening = subprocess.run(["ss", "-ltnH", f"sport = :{port}"], capture_output=True, text=True)
    if listening.returncode:
        pytest.skip("no ss here to ask who listens where")
    places = [line.split()[3] for line in listening.stdout.splitlines()]
    assert places == [f"127.0.0.1:{port}"]


def test_sizes_are_looked_at_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("an image was decoded")

    images = [base64.b64encode(png(1500, 1500)).decode()] * 3
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(RefusedError, match="6750000 pixels in all"):
        parse_request(JSON, body(images=images), Limits(body=100_000, pixels=4_000_000, all_pixels=5_000_000))


def test_one_service_does_not_take_anothers_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray import serve as ray_serve
    from ray.serve.schema import ServeStatus

    from ig3d_ray.on_ray.serve import NAME, others_serve

    running = ServeStatus(applications={NAME: object()}, proxies={"node": object()})
    monkeypatch.setattr(ray_serve, "status", lambda: running)
    with pytest.raises(Ig3dError, match="served on this cluster already"):
        others_serve()
    running.applications = {"theirs": object()}
    assert others_serve()


@pytest.mark.slow
def test_it_describes_itself_without_the_internet(service: str, world: World) -> None:
    status, page = ask(f"{service}/docs")
    assert status == 200
    assert not re.findall(r"<script|(?:src|href)=[\"']?(?:https?:)?//", page)
    schema = json.loads(ask(f"{service}/openapi.json")[1])
    predict = schema["paths"]["/predict"]["post"]
    assert [p["name"] for p in predict["parameters"]] == ["missing"]
    assert predict["parameters"][0]["schema"]["enum"] == ["fail", "skip", "fallback"]
    assert {"200", "400", "408", "413", "415", "422"} <= set(predict["responses"])
    for word in ("POST /predict", "GET /version", "GET /healthz", "missing", "excluded", "413"):
        assert word in page
    version = json.loads(ask(f"{service}/version")[1])
    assert version["spec_sha256"] == hashlib.sha256(Path(world.uri).read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_new_spec_is_served_and_no_request_is_dropped(watching: Service, world: World, tmp_path: Path) -> None:
    live, log, url = watching.live, watching.log, watching.url
    text = live.read_text()
    spec, before = unsealed(text), hashlib.sha256(text.encode()).hexdigest()
    alone = spec["fallbacks"][0]
    new = spec | {
        "members": [m for m in spec["members"] if m["name"] in alone["members"]],
        "fusion": alone["fusion"],
        "fallbacks": [],
    }
    new["members"].sort(key=lambda m: alone["members"].index(m["name"]))
    _, contents = world.images()
    ended, answers = threading.Event(), []

    def keep_asking() -> None:
        while not ended.is_set():
            answers.append(ask(f"{url}/predict?missing=fallback", contents[0], "image/png")[0])

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking) for _ in range(4)]
        try:
            assert watching.serves() == before
            for text, served in ((json.dumps(spec | {"members": []}), False), (json.dumps(new), True)):
                (tmp_path / "next.json").write_text(text)
                os.replace(tmp_path / "next.json", live)
                digest = hashlib.sha256(text.encode()).hexdigest()
                deadline = time.monotonic() + 90
                message = "serving the new one" if served else "the former spec is served on"
                while message not in log.read_text() and time.monotonic() < deadline:
                    time.sleep(0.2)
                assert message in " ".join(log.read_text().split()), log.read_text()
                assert watching.serves() == (digest if served else before)
        finally:
            ended.set()
        for one in asking:
            one.result()
    shutil.copy(world.uri, tmp_path / "next.json")
    os.replace(tmp_path / "next.json", live)
    deadline = time.monotonic() + 90
    while watching.serves() != before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert watching.serves() == before, "the former spec, put there again, is not served"
    assert len(answers) > 8
    assert set(answers) == {200}
