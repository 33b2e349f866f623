"""Submitting a run to a cluster as a Ray job: its files, its log, and its exit code."""

import os
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ig3d_ray.config.search_space import SearchSpace
from ig3d_ray.errors import Ig3dError, without_password
from ig3d_ray.on_ray.job_files import job_folder
from ig3d_ray.storage.store import Store

# Ray kills a stopped job after 3 s by itself; writing checkpoints takes longer.
STOP_SECONDS = 25
POLL_SECONDS = 1.0
# A lost port forwarding is usually restored soon, and a lost head is restarted.
SILENCE_SECONDS = 300.0
# The storage's address, not its credentials: Ray shows these to everyone who can view the job.
_PASSED_ON = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_REGION")


def submit(space_file: Path, space: SearchSpace, storage: str, overrides: Sequence[str], address: str) -> str:
    """Start a run as a job of a cluster.

    This package, the space file and what it refers to by path are uploaded; the cluster must have the dependencies, and
    its machines must have access to the storage.

    Args:
        space_file: the search space's file.
        space: what it holds.
        storage: where members and results are.
        overrides: of single fields of the search space, `dotted.field=value`.
        address: of the cluster's dashboard, such as http://127.0.0.1:8265.

    Returns:
        The job's id.

    Raises:
        Ig3dError: no cluster answers, the token is not the cluster's, the storage is a folder of this machine, or
            a file that the search space refers to can't be sent.
    """
    if Store(storage).is_local and not Path(storage.removeprefix("file://")).is_absolute():
        raise Ig3dError(
            f"--storage {storage}: a job runs on another machine; use s3://bucket/prefix, or the full path of a folder"
            " that all its machines see"
        )
    if without_password(storage) != storage:
        raise Ig3dError(
            f"--storage {without_password(storage)}: holds a password, which Ray shows to everyone who may see the job;"
            " give the machines access by their role, or by files on them"
        )
    words = ["python", "-m", "ig3d_ray", "run", space_file.name, "--storage", storage]
    for override in overrides:
        words += ["--set", override]
    client = _client(address)
    with job_folder(space_file, space, overrides) as folder:
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), "PYTHONUNBUFFERED": "1"}
        try:
            job: str = client.submit_job(
                entrypoint=shlex.join(words),
                runtime_env={"working_dir": str(folder), "env_vars": environment},
                metadata={"ig3d": space_file.stem},
            )
        except Exception as error:
            raise Ig3dError(f"--dashboard {address}: the job was not accepted ({_first_line(error)})") from error
    return job


def follow(address: str, job: str, show: Callable[[str], None]) -> int:
    """Show a job's log until it ends; a lost connection is re-established.

    Returns:
        The exit code of its command; 143 if it was stopped.

    Raises:
        Ig3dError: the cluster no longer responds.
    """
    client, shown = _client(address), 0

    def ask(call: Callable[[str], Any]) -> Any:
        deadline = time.monotonic() + SILENCE_SECONDS
        while True:
            try:
                return call(job)
            except OSError as error:  # as all of requests' errors are
                if time.monotonic() >= deadline:
                    message = f"--dashboard {address}: no longer answers ({_first_line(error)})"
                    raise Ig3dError(
                        f"{message}; the job continues: ray job logs --address {address} --follow {job}"
                    ) from error
            time.sleep(POLL_SECONDS)

    while True:
        over = ask(client.get_job_status).is_terminal()
        lines = ask(client.get_job_logs)
        show(lines[shown:])
        shown = len(lines)
        if over:
            break
        time.sleep(POLL_SECONDS)
    about = ask(client.get_job_info)
    if about.driver_exit_code is None and str(about.status) == "FAILED":
        show(f"ig3d: {about.message}\n")
        return 1
    return 143 if about.driver_exit_code is None else int(about.driver_exit_code)


def _client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except Exception as error:
        hint = "is the dashboard up, is the port right (8265), is it forwarded? If the cluster asks for a token, set"
        raise Ig3dError(
            f"--dashboard {address}: no cluster accepts jobs there ({_first_line(error)}); {hint} RAY_AUTH_MODE=token"
            " and RAY_AUTH_TOKEN_PATH"
        ) from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
