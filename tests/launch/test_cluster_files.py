"""Cluster files: those of this repository are right, and every mistake that people make is found."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ig3d_ray.cli.app import app
from ig3d_ray.errors import Ig3dError
from ig3d_ray.launch import crd

CLUSTERS = Path(__file__).resolve().parents[2] / "clusters"
REPOSITORY = CLUSTERS.parent
CRDS = REPOSITORY.parent / "shared" / "reference" / "crd"
LAUNCHER = ["aws.yaml", "gcp.yaml", "azure.yaml"]
KUBERAY = ["kuberay-rayjob.yaml", "kuberay-raycluster.yaml", "kuberay-rayservice.yaml"]
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ray/ig3d").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))


def filled_in(name: str) -> str:
    """A file of ours as its user has it, who put names where it asks for them."""
    text = (CLUSTERS / name).read_text()
    for placeholder in ("YOUR-BUCKET", "REGISTRY", "your-project-id", "YOURGROUP", "YOUR-ADDRESS"):
        text = text.replace(placeholder, "acme")
    return text


def check(path: Path, *options: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, ["cluster", "check", str(path), "--mounts", str(REPOSITORY), *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout.splitlines()


def rules_of(lines: list[str]) -> set[str]:
    return {line.rsplit("[", 1)[1].rstrip("]") for line in lines if line.endswith("]")}


@pytest.mark.parametrize("name", LAUNCHER + KUBERAY)
def test_our_own_files_are_right(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(filled_in(name))
    options = []
    if name in KUBERAY and CRDS.is_dir():
        kind = name.removeprefix("kuberay-").removesuffix(".yaml")
        options = ["--crd", str(CRDS / f"ray.io_{kind}s.yaml")]
    code, lines = check(path, *options)
    assert code == 0, lines
    assert "nothing wrong" in lines[-1]
    # What no key of the file changes is said.
    assert len(lines) == 1 or (name == "azure.yaml" and "nsg rule update" in lines[0]), lines


@pytest.mark.parametrize("name", LAUNCHER + KUBERAY + ["skypilot.yaml"])
def test_only_what_is_left_to_fill_in_is_wrong_with_them(name: str) -> None:
    _, lines = check(CLUSTERS / name)
    assert rules_of(lines) <= {"placeholder", *(["open-port"] if name == "azure.yaml" else [])}


def broken(name: str, change: Change, tmp_path: Path) -> list[str]:
    content = yaml.safe_load(filled_in(name))
    change(content)
    path = tmp_path / name
    path.write_text(yaml.safe_dump(content))
    return check(path)[1]


def kinds(file: dict[str, Any]) -> dict[str, Any]:
    # Anchors of the file are one object here; a change of one machine must not change the others.
    found = file["available_node_types"] = copy.deepcopy(file["available_node_types"])
    return {name: found.setdefault(name, copy.deepcopy(kind)) for name, kind in found.items()}


def open_to_the_world(ports: tuple[int, int]) -> dict[str, Any]:
    permission = {"FromPort": ports[0], "ToPort": ports[1], "IpProtocol": "tcp", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    return {"GroupName": "x", "IpPermissions": [permission]}


AWS_MISTAKES: list[tuple[str, Change, str]] = [
    ("name", lambda f: f.pop("cluster_name"), "cluster_name: none of its own"),
    ("name", lambda f: f.update(cluster_name="My Cluster"), "lower-case letters"),
    ("place", lambda f: f["provider"].pop("region"), "provider.region: missing"),
    ("provider-key", lambda f: f["provider"].update(regoin="x"), "did you mean region?"),
    ("open-port", lambda f: f["provider"].update(security_group=open_to_the_world((0, 65535))), "0 to 65535 are open"),
    (
        "open-port",
        lambda f: kinds(f)["gpu_spot"]["node_config"].pop("SecurityGroupIds"),
        "opens port 22 to the world; name a group",
    ),
    ("open-port", lambda f: f["provider"].update(security_group=open_to_the_world((22, 22))), "22 to 22 are open"),
    (
        "open-port",
        lambda f: f.update(
            head_start_ray_commands=[c.replace("127.0.0.1", "0.0.0.0") for c in f["head_start_ray_commands"]]
        ),
        "the dashboard listens to the network",
    ),
    ("token", lambda f: f["docker"].pop("run_options"), "no RAY_AUTH_MODE=token"),
    (
        "autoscaling",
        lambda f: f.update(head_start_ray_commands=["ray start --head --dashboard-host=127.0.0.1"]),
        "no --autoscaling-config",
    ),
    (
        "autoscaling",
        lambda f: f.update(worker_start_ray_commands=["ray start --address=10.0.0.1:6379"]),
        "not find the head",
    ),
    ("own-commands", lambda f: f.pop("setup_commands"), "a development build"),
    ("version", lambda f: f["docker"].update(image="rayproject/ray:latest-gpu"), "no fixed version"),
    ("version", lambda f: f["setup_commands"].append("pip install -U torch"), "pip install torch: no version"),
    ("idle", lambda f: f.pop("idle_timeout_minutes"), "idle machines would stay"),
    ("file-mount", lambda f: f["file_mounts"].update({"/x": "./nothing"}), "no such file or folder"),
    (
        "head",
        lambda f: f["available_node_types"]["head"].update(resources={"CPU": 2}),
        "members would train on the head",
    ),
    ("head", lambda f: f["available_node_types"]["head"].pop("resources"), "CPU not given"),
    (
        "resource-name",
        lambda f: kinds(f)["gpu_spot"].update(resources={"CPU": 4, "GPU": 1, "gpu": 1}),
        "gpu: Ray's own is GPU",
    ),
    ("gpu", lambda f: kinds(f)["gpu_spot"].update(resources={"CPU": 4}), "g5.xlarge has GPUs"),
    ("gpu", lambda f: kinds(f)["cpu"].update(resources={"CPU": 8, "GPU": 1}), "m6i.2xlarge has no GPU"),
    ("count", lambda f: kinds(f)["gpu_spot"].update(max_workers=50), "more than the cluster's max_workers"),
    ("count", lambda f: kinds(f)["gpu_spot"].update(min_workers=9, max_workers=8), "less than min_workers"),
    ("count", lambda f: kinds(f)["gpu_spot"].update(min_workers=2), "these never go"),
    ("count", lambda f: kinds(f)["gpu_spot"].pop("max_workers"), "limits the bill"),
    (
        "spot",
        lambda f: kinds(f)["gpu_spot"]["node_config"].update(InstanceMarketOptions={"MarketType": "sopt"}),
        "Amazon's word is spot",
    ),
    (
        "spot",
        lambda f: kinds(f)["head"]["node_config"].update(InstanceMarketOptions={"MarketType": "spot"}),
        "takes the whole cluster with it",
    ),
    ("fallback", lambda f: f["available_node_types"].pop("gpu_on_demand"), "the run waits"),
    (
        "fallback",
        lambda f: f["available_node_types"]["gpu_spot"].pop("priority"),
        "dearer machines would be started first",
    ),
    ("role", lambda f: kinds(f)["gpu_spot"]["node_config"].pop("IamInstanceProfile"), "no IamInstanceProfile"),
    (
        "secret",
        lambda f: f["setup_commands"].append("export AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE"),
        "an AWS access key",
    ),
    ("secret", lambda f: f["setup_commands"].append(f"export RAY_AUTH_TOKEN={'ab' * 32}"), "a Ray token"),
    ("secret", lambda f: f["provider"].update(aws_credentials={"x": "y"}), "copied to every machine"),
    ("schema", lambda f: f.update(max_workers="ten"), "Ray rejects it"),
    ("schema", lambda f: f.update(head_node_type="haed"), "Ray rejects it"),
    ("schema", lambda f: f.update(file_mounts=["x"]), "Ray rejects it"),
]


@pytest.mark.parametrize(
    ("rule", "change", "message"), AWS_MISTAKES, ids=[f"{m[0]}-{i}" for i, m in enumerate(AWS_MISTAKES)]
)
def test_a_mistake_in_a_launcher_file_is_found(rule: str, change: Change, message: str, tmp_path: Path) -> None:
    lines = broken("aws.yaml", change, tmp_path)
    assert rule in rules_of(lines)
    assert any(message in line for line in lines), lines


def test_mistakes_in_the_words_of_the_other_clouds(tmp_path: Path) -> None:
    def google(f: dict[str, Any]) -> None:
        f["available_node_types"]["gpu_spot"]["node_config"]["scheduling"] = [{"provisioningModel": "spot"}]
        f["available_node_types"]["cpu"]["node_config"].pop("serviceAccounts")
        f["available_node_types"]["head"]["node_config"].pop("networkInterfaces")
        f["provider"].pop("project_id")

    lines = broken("gcp.yaml", google, tmp_path)
    assert rules_of(lines) == {"spot", "role", "place", "open-port"}, lines

    def microsoft(f: dict[str, Any]) -> None:
        f["available_node_types"]["gpu_spot"]["node_config"]["azure_arm_parameters"]["priority"] = "spot"
        f["provider"].pop("msi_name")

    lines = broken("azure.yaml", microsoft, tmp_path)
    assert {"spot", "role"} <= rules_of(lines), lines


def pod(file: dict[str, Any], group: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = file["spec"]["rayClusterSpec"]["workerGroupSpecs"][group]["template"]["spec"]
    return found


def container(file: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod(file)["containers"][0]
    return found


def cluster(file: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = file["spec"]["rayClusterSpec"]
    return found


KUBERAY_MISTAKES: list[tuple[str, Change, str]] = [
    ("submission", lambda f: f["spec"].update(submissionMode="k8s"), "one of K8sJobMode"),
    ("entrypoint", lambda f: f["spec"].pop("entrypoint"), "what is the job to run?"),
    ("idle", lambda f: f["spec"].pop("shutdownAfterJobFinishes"), "stay and cost"),
    ("restart", lambda f: f["spec"].pop("backoffLimit"), "not be started again"),
    ("cluster", lambda f: f["spec"].pop("rayClusterSpec"), "a job needs a cluster"),
    ("token", lambda f: cluster(f).pop("authOptions"), "run anything"),
    ("autoscaling", lambda f: cluster(f).pop("enableInTreeAutoscaling"), "no worker would come"),
    ("autoscaling", lambda f: cluster(f)["autoscalerOptions"].pop("version"), "not v2"),
    (
        "head",
        lambda f: cluster(f)["headGroupSpec"]["rayStartParams"].pop("num-cpus"),
        "members would train on the head",
    ),
    ("open-port", lambda f: cluster(f)["headGroupSpec"].update(serviceType="LoadBalancer"), "LoadBalancer opens"),
    ("count", lambda f: cluster(f)["workerGroupSpecs"][0].pop("maxReplicas"), "it is your bill"),
    ("count", lambda f: cluster(f)["workerGroupSpecs"][0].update(replicas=9), "is not within 0 and 8"),
    ("count", lambda f: cluster(f)["workerGroupSpecs"][0].update(minReplicas=1, replicas=1), "these never go"),
    ("gpu", lambda f: container(f)["resources"]["limits"].pop("nvidia.com/gpu"), "no group asks for"),
    ("toleration", lambda f: pod(f).pop("tolerations"), "no toleration"),
    ("notice", lambda f: container(f).pop("lifecycle"), "would get no notice"),
    ("notice", lambda f: pod(f).update(terminationGracePeriodSeconds=5), "too short"),
    ("role", lambda f: pod(f).pop("serviceAccountName"), "without keys"),
    ("version", lambda f: container(f).update(image="acme/ig3d-ray"), "no fixed version"),
    ("version", lambda f: container(f).update(image="rayproject/ray:2.50.0-py311"), "is not rayVersion 2.60.0"),
    ("version", lambda f: cluster(f).pop("rayVersion"), "rayVersion: missing"),
    ("limits", lambda f: container(f)["resources"]["limits"].pop("memory"), "no memory"),
    ("volume", lambda f: pod(f).pop("volumes"), "no such volume"),
    ("secret", lambda f: container(f).update(env=[{"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}]), "use valueFrom"),
]


@pytest.mark.parametrize(
    ("rule", "change", "message"), KUBERAY_MISTAKES, ids=[f"{m[0]}-{i}" for i, m in enumerate(KUBERAY_MISTAKES)]
)
def test_a_mistake_in_a_manifest_is_found(rule: str, change: Change, message: str, tmp_path: Path) -> None:
    lines = broken("kuberay-rayjob.yaml", change, tmp_path)
    assert rule in rules_of(lines)
    assert any(message in line for line in lines), lines


SKYPILOT_MISTAKES: list[tuple[str, Change, str]] = [
    ("schema", lambda f: f.update(resource={}), "did you mean resources?"),
    ("schema", lambda f: f["resources"].update(acelerators="L4:1"), "did you mean accelerators?"),
    ("gpu", lambda f: f["resources"].pop("accelerators"), "nothing would train on a GPU"),
    ("idle", lambda f: f["resources"].pop("autostop"), "would stay and cost"),
    ("open-port", lambda f: f["resources"].update(ports=8265), "open to the world"),
    ("open-port", lambda f: f.update(run=f["run"].replace("127.0.0.1", "0.0.0.0")), "listens to the network"),
    ("internal-ray", lambda f: f.update(run=f["run"] + "\nray stop\n"), "stops SkyPilot's own Ray, too"),
    ("internal-ray", lambda f: f.update(run="ray start --head --port=6380"), "that of SkyPilot's own Ray"),
    ("internal-ray", lambda f: f.update(run="ig3d run x.yaml --address auto"), "finds SkyPilot's own Ray"),
    ("token", lambda f: f["envs"].pop("RAY_AUTH_MODE"), "everyone who reaches a port"),
    ("version", lambda f: f.update(setup="pip install torch"), "no version"),
    ("secret", lambda f: f["secrets"].update(RAY_AUTH_TOKEN="ab" * 32), "a Ray token"),
]


@pytest.mark.parametrize(("rule", "change", "message"), SKYPILOT_MISTAKES)
def test_a_mistake_in_a_task_of_skypilot_is_found(rule: str, change: Change, message: str, tmp_path: Path) -> None:
    lines = broken("skypilot.yaml", change, tmp_path)
    assert any(message in line and line.endswith(f"[{rule}]") for line in lines), lines


def test_skypilots_own_schema_takes_the_task(tmp_path: Path) -> None:
    schemas = pytest.importorskip("sky.utils.schemas", reason="SkyPilot is not installed")
    import jsonschema

    task = yaml.safe_load(filled_in("skypilot.yaml"))
    jsonschema.validate(task, schemas.get_task_schema())
    jsonschema.validate(task["resources"], schemas.get_resources_schema())


def test_several_files_are_checked_at_once_and_all_is_said(tmp_path: Path) -> None:
    right = tmp_path / "aws.yaml"
    right.write_text(filled_in("aws.yaml"))
    wrong = CLUSTERS / "kuberay-rayjob.yaml"
    done = CliRunner().invoke(app, ["cluster", "check", str(right), str(wrong), "--mounts", str(REPOSITORY)])
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{right}: nothing wrong")
    assert all(line.startswith(f"{wrong}: ") for line in lines[1:])
    assert len(lines) > 1


@pytest.mark.skipif(not CRDS.is_dir(), reason="KubeRay's schemas are not here")
def test_the_option_that_is_commented_out_is_one_that_the_operator_takes(tmp_path: Path) -> None:
    text = filled_in("kuberay-rayjob.yaml")
    for line in ("historyServerOptions:", "  collectorOptions:", "    image: quay"):
        assert f"# {line}" in text
        text = text.replace(f"# {line}", line)
    path = tmp_path / "job.yaml"
    path.write_text(text)
    assert "historyServerOptions" in yaml.safe_load(text)["spec"]["rayClusterSpec"]
    code, lines = check(path, "--crd", str(CRDS / "ray.io_rayjobs.yaml"))
    assert code == 0, lines


@pytest.mark.parametrize("name", ["launch", "head", "worker"])
def test_the_permissions_are_json_that_amazon_takes(name: str) -> None:
    policy = json.loads((CLUSTERS / "aws-policies" / f"{name}.json").read_text())
    assert policy["Version"] == "2012-10-17"
    for statement in policy["Statement"]:
        assert re.fullmatch(r"[A-Za-z0-9]+", statement["Sid"])
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert all(re.fullmatch(r"(ec2|iam|s3|ssm):[A-Z][A-Za-z]+", action) for action in actions), actions
    # Whoever may pass any role may become anyone.
    passed = [s for s in policy["Statement"] if "iam:PassRole" in s["Action"]]
    assert all("role/*" not in json.dumps(s["Resource"]) and s["Resource"] != "*" for s in passed)


@pytest.mark.skipif(not CRDS.is_dir(), reason="KubeRay's schemas are not here")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["spec"].update(shutDownAfterJobFinishes=True), "shutDownAfterJobFinishes"),
        (lambda f: cluster(f)["workerGroupSpecs"][0].update(maxReplica=3), "maxReplica"),
        (lambda f: cluster(f)["workerGroupSpecs"][0].update(replicas="2"), "'2' is not of type"),
        (lambda f: cluster(f)["headGroupSpec"].update(rayStartParams={"num-cpus": 0}), "0 is not of type"),
        (lambda f: cluster(f).pop("headGroupSpec"), "headGroupSpec"),
        (lambda f: container(f)["resources"]["limits"].update(memory="24GiB"), "24GiB"),
    ],
)
def test_what_kubernetes_would_drop_silently_is_refused(change: Change, message: str, tmp_path: Path) -> None:
    content = yaml.safe_load(filled_in("kuberay-rayjob.yaml"))
    change(content)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(content))
    _, lines = check(path, "--crd", str(CRDS / "ray.io_rayjobs.yaml"))
    assert any("[schema]" in line and message in line for line in lines), lines


def test_a_definition_that_asks_for_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    file = tmp_path / "definition.yaml"
    file.write_text(f"spec: !!python/object/apply:os.mkdir ['{ran}']\n")
    yaml.unsafe_load(file.read_text())
    assert ran.exists(), "the file would run code where that is let in"
    ran.rmdir()
    with pytest.raises(Ig3dError, match=r"definition.yaml: line 1: not YAML: .*python/object/apply"):
        list(crd.check_schema({"kind": "RayJob"}, file))
    assert not ran.exists()


def definition(schema: object) -> str:
    version = {"name": "v1", "schema": {"openAPIV3Schema": schema}}
    return json.dumps({"spec": {"names": {"kind": "RayJob"}, "versions": [version]}})


BOMB = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}' if i else 'x'] * 9)}]\n" for i in range(12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 50_000, "nested too deeply"),
        (BOMB, "expand to more than"),
        ("a: &a [*a]\n", "refers to itself"),
        (definition({"properties": {"spec": {"$ref": "http://127.0.0.1:9/x"}}}), "no schema of a RayJob"),
        (definition({"type": "object"}), "no schema of a RayJob"),
        (definition({"properties": {"spec": {"type": "no such"}}}), "no schema of a RayJob"),
        (definition({"properties": {"spec": {"type": "object", "properties": [1]}}}), "no schema of a RayJob"),
        (definition([1]), "no schema of a RayJob"),
    ],
    ids=["deep", "bomb", "itself", "reference", "no properties", "type", "list of properties", "list"],
)
def test_a_definition_that_is_none_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "definition.yaml"
    file.write_text(text)
    with pytest.raises(Ig3dError, match=message) as refused:
        list(crd.check_schema({"kind": "RayJob", "apiVersion": "ray.io/v1", "spec": {}}, file))
    assert str(refused.value).startswith(f"{file}: ")
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "no YAML"),
        ("- a\n- b\n", "one cluster per file"),
        ("a: 1\n---\nb: 2\n", "holds 2 documents"),
        ("a: 1\n", "neither a file for `ray up`"),
    ],
)
def test_what_is_no_cluster_file_is_refused_with_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "ig3d_ray", "cluster", "check", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"ig3d: {path}: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["slurm.sbatch", "local.sh"])
def test_shell_files_pass_shellcheck(name: str) -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, CLUSTERS / name], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def in_service(file: dict[str, Any]) -> dict[str, Any]:
    return file["spec"]["rayClusterConfig"]


SERVICE_MISTAKES: list[tuple[str, Change, str]] = [
    ("application", lambda f: f["spec"].pop("serveConfigV2"), "nothing would be served"),
    ("application", lambda f: f["spec"].update(serveConfigV2="applications: [{name: x}]"), "what is to be served?"),
    ("application", lambda f: f["spec"].update(serveConfigV2="{"), "nothing would be served"),
    ("token", lambda f: in_service(f).pop("authOptions"), "could run anything on the cluster"),
    ("head", lambda f: in_service(f)["headGroupSpec"].update(rayStartParams={}), 'not "0"'),
    ("open-port", lambda f: in_service(f)["headGroupSpec"].update(serviceType="LoadBalancer"), "opens the dashboard"),
    ("count", lambda f: in_service(f)["workerGroupSpecs"][0].pop("maxReplicas"), "any number"),
    ("count", lambda f: in_service(f)["workerGroupSpecs"][0].update(replicas=0), "needs one at least"),
    ("version", lambda f: in_service(f).pop("rayVersion"), "the operator decides by it"),
]


@pytest.mark.parametrize(("rule", "change", "message"), SERVICE_MISTAKES)
def test_a_mistake_in_a_service_is_found(rule: str, change: Change, message: str, tmp_path: Path) -> None:
    lines = broken("kuberay-rayservice.yaml", change, tmp_path)
    assert any(message in line and line.endswith(f"[{rule}]") for line in lines), lines
