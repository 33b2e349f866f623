"""Storages that are only like S3: without checksums, without conditional writes, or with conditions ignored."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from faulty_s3 import FaultyProxy

from ig3d_ray.errors import Ig3dError
from ig3d_ray.storage import refusals
from ig3d_ray.storage.leases import Leases
from ig3d_ray.storage.store import Store


class LikeS3(FaultyProxy):
    """A proxy that makes a server lack what some servers lack."""

    def __init__(self, server: str, lacks: str) -> None:
        super().__init__(server, share=0)
        self.lacks = lacks

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        names = {name.lower() for name in request.headers}
        if (
            self.lacks == "checksums"
            and request.command != "GET"
            and any("checksum" in name or name == "x-amz-trailer" for name in names)
        ):
            self._refuse(request, 400, "InvalidArgument", "x-amz-checksum-crc32 is not supported")
        elif self.lacks == "conditions" and "if-none-match" in names:
            self._refuse(request, 501, "NotImplemented", "A header you provided implies functionality")
        else:
            if self.lacks == "conditions, silently":
                del request.headers["If-None-Match"]
            super().handle(request)

    def _refuse(self, request: BaseHTTPRequestHandler, status: int, code: str, message: str) -> None:
        self._body(request)
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
        self._answer(request, status, {"Content-Type": "application/xml"}, text.encode())


@contextmanager
def storage(server: str, bucket: str, lacks: str, patch: pytest.MonkeyPatch) -> Iterator[Store]:
    proxy = LikeS3(server, lacks)
    patch.setenv("AWS_ENDPOINT_URL", proxy.url)
    patch.setattr(refusals, "_warned", set())
    yield Store(f"{bucket}/like")
    proxy.close()


def test_refused_checksums_are_told_with_the_way_out(
    s3_server: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage(s3_server, bucket, "checksums", monkeypatch) as store:
        with pytest.raises(Ig3dError, match="set AWS_REQUEST_CHECKSUM_CALCULATION=when_required") as refused:
            store.prepare()
        assert len(str(refused.value)) <= 300
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        again = Store(store.uri)
        again.prepare()
        again.write("a", b"1")
        assert again.read("a") == b"1"


@pytest.mark.parametrize(
    ("lacks", "message"),
    [("conditions", "takes no conditional writes"), ("conditions, silently", "ignores the condition")],
)
def test_without_conditional_writes_a_run_goes_on_and_says_what_is_not_safe(
    lacks: str,
    message: str,
    s3_server: str,
    bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with storage(s3_server, bucket, lacks, monkeypatch) as store, caplog.at_level(logging.WARNING):
        store.prepare()
        store.prepare()
        with Leases(store) as leases:
            assert leases.acquire("claims/search") is None
            if lacks == "conditions":
                assert not store.create(leases.held["claims/search"], b"another's")
        (warned,) = [record.getMessage() for record in caplog.records]
        assert message in warned
        assert warned.endswith("start one run at a time")
        assert not [name for name in store.names() if "probe" in name]


def test_on_a_right_one_nothing_is_said(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Store(f"{bucket}/right").prepare()
    assert caplog.records == []


def test_a_bucket_that_is_missing_is_not_an_empty_one(s3_server: str, bucket: str) -> None:
    for ask in (Store("s3://no-such-bucket/x").names, Store("s3://no-such-bucket/x").check_there):
        with pytest.raises(Ig3dError, match=r"s3://no-such-bucket/x: the bucket does not exist"):
            ask()
    assert Store(f"{bucket}/nothing").names() == []


def test_an_extra_that_is_missing_is_named() -> None:
    with pytest.raises(Ig3dError, match=r"gs://bucket/x: gs:// needs .*pip install 'ig3d-ray\[gcs\]'"):
        Store("gs://bucket/x")
