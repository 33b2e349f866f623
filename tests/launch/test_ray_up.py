"""`ray up` and `ray down` of the AWS file against a moto server, every step of them.

Moto gives its machines addresses that belong to strangers: `ssh` and `rsync` are stand-ins that come first in PATH and
write down what they were asked for.
"""

import base64
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.moto_api import recorder
from moto.server import ThreadedMotoServer

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
REGION = "us-east-1"
STAND_IN = """#!{python}
import json, os, sys
with open({log!r}, "a") as log:
    log.write(json.dumps(sys.argv) + "\\n")
words = " ".join(sys.argv)
if "json .Config.Env" in words:
    print('["HOME=/home/ray"]')
elif "json .Mounts" in words:
    print("[]")
elif ".State.Running" in words:
    print("true" if os.path.exists({started!r}) else "false")
if "docker run" in words:
    open({started!r}, "w").close()
"""


@pytest.fixture
def aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(recorder, "_location", str(tmp_path / "recording"))
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    # All servers of a process share what they hold.
    host, port = server.get_host_and_port()
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"", timeout=10).close()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def account(aws: str, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody with an AWS account that has what aws.yaml asks for."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))} | {
        "AWS_ENDPOINT_URL": aws,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "PATH": f"{tmp_path / 'bin'}:{BIN}:{os.environ['PATH']}",
    }
    ec2 = client("ec2", environment)
    group = ec2.create_security_group(GroupName="ig3d", Description="ig3d")["GroupId"]
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[inside, ssh])
    text = (REPOSITORY / "clusters" / "aws.yaml").read_text()
    (tmp_path / "aws.yaml").write_text(text.replace("sg-YOURGROUP", group))
    iam = client("iam", environment)
    for name in ("ig3d-head", "ig3d-worker"):
        iam.create_instance_profile(InstanceProfileName=name)
    (tmp_path / "bin").mkdir()
    for name in ("ssh", "rsync"):
        stand_in = tmp_path / "bin" / name
        log, started = str(tmp_path / f"{name}.log"), str(tmp_path / "started")
        stand_in.write_text(STAND_IN.format(python=sys.executable, log=log, started=started))
        stand_in.chmod(0o755)
    (tmp_path / ".ray/ig3d").mkdir(parents=True)
    token = tmp_path / ".ray/ig3d/token"
    token.touch(mode=0o600)
    token.write_text("ab" * 32)
    return environment


def client(service: str, environment: dict[str, str]) -> "boto3.client":
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    return boto3.client(service, endpoint_url=environment["AWS_ENDPOINT_URL"], region_name=REGION, **keys)


def calls(environment: dict[str, str]) -> set[str]:
    """What was asked of EC2, IAM and SSM since the recording began, as permissions are named."""
    with urllib.request.urlopen(
        f"{environment['AWS_ENDPOINT_URL']}/moto-api/recorder/download-recording", timeout=10
    ) as answer:
        lines = [json.loads(line) for line in answer.read().decode().splitlines()]
    found = set()
    for line in lines:
        body = base64.b64decode(line["body"]).decode() if line.get("body_encoded") else str(line.get("body"))
        headers = {name.lower(): value for name, value in line["headers"].items()}
        service = re.findall(r"/([a-z0-9]+)/aws4_request", headers.get("authorization", "")) or ["?"]
        action = re.findall(r"\bAction=(\w+)", body) or [headers.get("x-amz-target", "?.?").split(".")[1]]
        found.add(f"{service[0]}:{action[0]}")
    return found


def machines(environment: dict[str, str]) -> list[dict[str, object]]:
    found = client("ec2", environment).describe_instances()["Reservations"]
    return [i for r in found for i in r["Instances"] if i["State"]["Name"] == "running"]


def test_ray_up_and_down_run_all_their_steps(account: dict[str, str], tmp_path: Path) -> None:
    def ray(verb: str, *options: str) -> None:
        words = [str(BIN / "ray"), verb, "-y", *options, str(tmp_path / "aws.yaml")]
        done = subprocess.run(words, cwd=REPOSITORY, env=account, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr

    urllib.request.urlopen(
        f"{account['AWS_ENDPOINT_URL']}/moto-api/recorder/reset-recording", data=b"", timeout=10
    ).close()
    urllib.request.urlopen(
        f"{account['AWS_ENDPOINT_URL']}/moto-api/recorder/start-recording", data=b"", timeout=10
    ).close()
    ray("up", "--no-config-cache")
    (head,) = machines(account)
    assert head["InstanceType"] == "m6i.xlarge"
    assert str(head["IamInstanceProfile"]["Arn"]).endswith("ig3d-head")  # type: ignore[index]
    asked = [" ".join(json.loads(line)) for line in (tmp_path / "ssh.log").read_text().splitlines()]
    copied = [" ".join(json.loads(line)) for line in (tmp_path / "rsync.log").read_text().splitlines()]
    (run,) = [words for words in asked if "docker run" in words]
    assert "--env RAY_AUTH_MODE=token" in run
    assert "rayproject/ray:2.60.0-py311" in run
    in_order = ["docker run", "chmod 600 /home/ray/.ray/ig3d/token", "pip install", "boto3", "ray start --head"]
    places = [next(i for i, words in enumerate(asked) if step in words) for step in in_order]
    assert places == sorted(places)
    (start,) = [words for words in asked if "ray start --head" in words]
    assert "--dashboard-host=127.0.0.1" in start
    for source in ("ig3d_ray", "constraints.txt", ".ray/ig3d", "ray-bootstrap"):
        assert any(source in words for words in copied), source
    # The token goes as a file, never as a word of a command.
    assert not any("ab" * 32 in words for words in asked + copied)
    ray("down")
    assert machines(account) == []
    policy = json.loads((REPOSITORY / "clusters" / "aws-policies" / "launch.json").read_text())
    allowed = {
        action
        for s in policy["Statement"]
        for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])
    }
    called = calls(account)
    assert {"ec2:RunInstances", "ec2:CreateKeyPair", "ec2:TerminateInstances"} <= called
    assert called - allowed == set(), "`ray up` needs what the policy does not give"


def test_workers_come_as_spot_machines_and_go(account: dict[str, str], tmp_path: Path) -> None:
    script = """
import sys
import yaml
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config
file = bootstrap_aws(prepare_config(yaml.safe_load(open(sys.argv[1]))))
provider = _get_node_provider(file["provider"], file["cluster_name"])
for name, kind in file["available_node_types"].items():
    if name != "head":
        tags = {"ray-node-name": name, "ray-node-type": "worker", "ray-user-node-type": name}
        provider.create_node(kind["node_config"], tags, 1)
print(len(provider.non_terminated_nodes({})))
import boto3
ec2 = boto3.client("ec2")
for r in ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])["Reservations"]:
    for i in r["Instances"]:
        lifecycle = i.get("InstanceLifecycle", "on-demand")
        print(i["InstanceType"], lifecycle, i["IamInstanceProfile"]["Arn"].split("/")[-1])
        print("ports", [g["GroupId"] for g in i["SecurityGroups"]])
for group in ec2.describe_security_groups()["SecurityGroups"]:
    for rule in group["IpPermissions"]:
        if rule.get("IpRanges"):
            print("open", rule.get("FromPort"), rule.get("ToPort"), [r["CidrIp"] for r in rule["IpRanges"]])
provider.terminate_nodes(provider.non_terminated_nodes({}))
print(len(provider.non_terminated_nodes({})))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "aws.yaml")],
        cwd=REPOSITORY,
        env=account,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    found = sorted(line for line in lines if re.match(r"[gm]\d", line))
    assert found == [
        "g5.xlarge on-demand ig3d-worker",
        "g5.xlarge spot ig3d-worker",
        "m6i.2xlarge on-demand ig3d-worker",
    ]
    assert {line for line in lines if line.startswith("open")} == {"open 22 22 ['203.0.113.7/32']"}
    assert lines[-1] == "0"
