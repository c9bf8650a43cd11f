"""The files that start clusters are what their readers accept, and keep what the documentation promises."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.version import Version

from allscan.cluster.deployment import FILES
from allscan.jobs.cli import main as command_line
from tests.cluster.kuberay import RAY_CLUSTER, RAY_JOB

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "cluster" / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]
CONTAINER = (DEPLOY / "Containerfile").read_text()
CLOUDS = ("gcp", "aws")
KUBERNETES = "1.30"
GIB = 2**30


def texts() -> Iterator[tuple[str, str]]:
    for path in sorted(DEPLOY.iterdir()):
        yield path.name, path.read_text()


def autoscaler(cloud: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((DEPLOY / f"{cloud}.yaml").read_text())
    return config


def manifests(name: str) -> dict[str, dict[str, Any]]:
    return {document["kind"]: document for document in yaml.safe_load_all((DEPLOY / f"{name}.yaml").read_text())}


def ray_cluster(name: str) -> dict[str, Any]:
    found = manifests(name)
    spec: dict[str, Any] = found["RayCluster"]["spec"] if name == "raycluster" else found["RayJob"]["spec"]
    return spec if name == "raycluster" else spec["rayClusterSpec"]


def program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def test_the_command_line_prints_every_file() -> None:
    assert {file for file, _ in FILES.values()} == {path.name for path in DEPLOY.iterdir()}
    for name, (file, purpose) in FILES.items():
        assert CliRunner().invoke(command_line, ["deployment", name]).stdout == (DEPLOY / file).read_text()
        assert purpose in CliRunner().invoke(command_line, ["deployment"]).stdout
    unknown = CliRunner().invoke(command_line, ["deployment", "azure"])
    assert unknown.exit_code == 2
    assert "slurm" in unknown.stderr


# Versions


def test_every_file_names_the_same_versions() -> None:
    (ray,) = re.findall(r"^ARG RAY=(\S+)$", CONTAINER, flags=re.MULTILINE)
    extra = PROJECT["project"]["optional-dependencies"]["ray"]
    (allowed,) = [requirement for requirement in map(Requirement, extra) if requirement.name == "ray"]
    assert Version(ray) in allowed.specifier
    assert Version(ray) >= Version("2.52"), "the first version with tokens"
    for name in ("raycluster", "rayjob"):
        assert ray_cluster(name)["rayVersion"] == ray
    for name, text in texts():
        for tag in re.findall(r"allscan:(\d\S*)", text):
            assert tag == VERSION, name
    pythons = set(re.findall(r"^FROM python:(\d+\.\d+)-slim", CONTAINER, flags=re.MULTILINE))
    assert len(pythons) == 1
    assert any(f"Python :: {pythons.copy().pop()}" in line for line in PROJECT["project"]["classifiers"])


def test_no_file_holds_a_secret() -> None:
    keys = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|\b(password|secret|token)\s*[:=]\s*['\"]?[A-Za-z0-9+/]{16,}", re.I)
    for name, text in texts():
        assert not keys.search(text), name
        assert not re.search(r"RAY_AUTH_TOKEN\s*[:=]\s*\S", text), name


# Clouds


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_autoscaler_takes_the_file(cloud: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(autoscaler(cloud))
    validate_config(config)
    # Ray fills in commands of its own, which install packages, where a file leaves them out.
    assert config["head_setup_commands"] == config["worker_setup_commands"] == []
    wrong = {**config, "max_wrokers": 3}
    with pytest.raises(jsonschema.ValidationError):
        validate_config(wrong)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_clusters_of_a_cloud_are_safe_and_end(cloud: str) -> None:
    config = autoscaler(cloud)
    assert 0 < config["idle_timeout_minutes"] <= 10
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0}
    (worker,) = [kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]]
    assert worker["min_workers"] == 0
    # Tasks say what memory they need: machines whose memory is not known would never be asked for.
    assert worker["resources"]["memory"] == int(0.7 * 64 * GIB)
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    for command in (*config["head_start_ray_commands"], *config["worker_start_ray_commands"]):
        if "ray start" in command:
            assert_ray_takes(command.split(";")[-1])


def assert_ray_takes(command: str) -> None:
    """Every option of a `ray start` is one that Ray has."""
    from ray.scripts.scripts import start

    words = shlex.split(re.sub(r"\$\w+", "1.2.3.4", command))
    assert words[:2] == ["ray", "start"]
    start.make_context("start", words[2:])


def test_what_is_asked_of_aws_are_parameters_that_ec2_has() -> None:
    from botocore.session import Session
    from botocore.validate import ParamValidator

    shape = Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    config = autoscaler("aws")
    for kind in config["available_node_types"].values():
        asked = {**kind["node_config"], "MinCount": 1, "MaxCount": 1}
        assert not ParamValidator().validate(asked, shape).has_errors()
        assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
        assert asked["MetadataOptions"]["HttpTokens"] == "required"
        assert "instance-profile/" in asked["IamInstanceProfile"]["Arn"]
    assert ParamValidator().validate({**asked, "InstanceTyp": "m7i"}, shape).has_errors()
    types = config["available_node_types"]
    assert types["worker"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert any(command.startswith("sudo shutdown -P +") for command in config["initialization_commands"])
    assert config["provider"]["cache_stopped_nodes"] is False


def test_ray_starts_machines_on_an_imitation_of_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3
    from moto import mock_aws
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config

    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes the key of ssh there
    (tmp_path / ".ssh").mkdir()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "imitation")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        ec2 = boto3.client("ec2")
        image = ec2.describe_images()["Images"][0]["ImageId"]
        text = (DEPLOY / "aws.yaml").read_text().replace("ACCOUNT", "123456789012")
        filled = yaml.safe_load(text.replace("ami-00000000000000000", image))
        for name in ("allscan-head", "allscan-worker"):
            boto3.client("iam").create_instance_profile(InstanceProfileName=name)
        config = bootstrap_aws(prepare_config(filled))
        provider = AWSNodeProvider(config["provider"], config["cluster_name"])
        for name, kind in config["available_node_types"].items():
            tags = {"ray-node-type": name, "ray-user-node-type": name, "ray-launch-config": "x"}
            provider.create_node(kind["node_config"], {**tags, "ray-node-name": name}, 1)
        started = [one for found in ec2.describe_instances()["Reservations"] for one in found["Instances"]]
    by_type = {one["InstanceType"]: one for one in started}
    assert set(by_type) == {"m7i.xlarge", "m7i.4xlarge"}
    assert by_type["m7i.4xlarge"]["InstanceLifecycle"] == "spot"
    assert "InstanceLifecycle" not in by_type["m7i.xlarge"]
    assert all(one["MetadataOptions"]["HttpTokens"] == "required" for one in started)
    assert by_type["m7i.xlarge"]["IamInstanceProfile"]["Arn"].endswith("/allscan-head")
    assert by_type["m7i.4xlarge"]["IamInstanceProfile"]["Arn"].endswith("/allscan-worker")


def test_what_is_asked_of_gcp_are_fields_that_compute_engine_has() -> None:
    import googleapiclient

    documents = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    schemas = json.loads((documents / "compute.v1.json").read_text())["schemas"]
    types = autoscaler("gcp")["available_node_types"]
    for kind in types.values():
        # Ray adds the machine's zone to the name of its type.
        assert_fields(kind["node_config"], {"$ref": "Instance"}, schemas, "node_config")
        assert int(kind["node_config"]["scheduling"]["maxRunDuration"]["seconds"]) <= 3 * 86400
    assert types["worker"]["node_config"]["scheduling"]["provisioningModel"] == "SPOT"
    assert types["head"]["node_config"]["scheduling"]["provisioningModel"] == "STANDARD"
    wrong = copy.deepcopy(types["worker"]["node_config"])
    wrong["scheduling"]["spot"] = True
    with pytest.raises(AssertionError, match="spot"):
        assert_fields(wrong, {"$ref": "Instance"}, schemas, "node_config")


def assert_fields(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> None:
    """A value holds fields of a schema of Google's discovery documents, of their types, and no others."""
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    if schema["type"] == "object":
        assert isinstance(value, dict), where
        for name, part in value.items():
            inner = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            assert inner is not None, f"{where}.{name} does not exist"
            assert_fields(part, inner, schemas, f"{where}.{name}")
    elif schema["type"] == "array":
        assert isinstance(value, list), where
        for part in value:
            assert_fields(part, schema["items"], schemas, f"{where}[]")
    elif "enum" in schema:
        assert value in schema["enum"], where
    elif schema.get("format") in ("int64", "int32", "uint64"):
        assert str(value).lstrip("-").isdigit(), where
    else:
        assert isinstance(value, {"string": str, "boolean": bool, "integer": int}[schema["type"]]), where


# Kubernetes


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_kubernetes_takes_the_manifests(name: str) -> None:
    import kubernetes_validate

    found = manifests(name)
    for kind in ("ServiceAccount", "NetworkPolicy"):
        kubernetes_validate.validate(found[kind], KUBERNETES, strict=True)
    spec = ray_cluster(name)
    jsonschema.validate(spec, RAY_CLUSTER)
    if name == "rayjob":
        jsonschema.validate(found["RayJob"]["spec"], RAY_JOB)
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pods = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}, "template": group["template"]}
        kubernetes_validate.validate(pods, KUBERNETES, strict=True)
    pods["template"]["spec"]["tolerations"][0]["operater"] = "Equal"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pods, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_clusters_of_kubernetes_are_safe_and_end(name: str) -> None:
    found, spec = manifests(name), ray_cluster(name)
    assert {document["metadata"]["namespace"] for document in found.values()} == {"allscan"}
    assert found["NetworkPolicy"]["spec"]["podSelector"] == {}
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["autoscalerOptions"]["idleTimeoutSeconds"] <= 600
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    (workers,) = spec["workerGroupSpecs"]
    assert workers["minReplicas"] == workers["replicas"] == 0
    for group in (spec["headGroupSpec"], workers):
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        # Ray counts what Kubernetes grants: requests and limits are the same.
        assert container["resources"]["requests"] == container["resources"]["limits"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        (memory,) = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "shared-memory"]
        assert memory["medium"] == "Memory"
    if name == "rayjob":
        job = found["RayJob"]["spec"]
        assert job["shutdownAfterJobFinishes"] is True
        assert job["activeDeadlineSeconds"] <= 3 * 86400
        assert job["backoffLimit"] > 0


def node_terms(pod: dict[str, Any]) -> list[dict[str, Any]]:
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms: list[dict[str, Any]] = required["nodeSelectorTerms"]
    return terms


def test_workers_go_where_heads_do_not() -> None:
    spec = ray_cluster("raycluster")
    # Terms are alternatives; expressions of one term must all hold.
    (head,) = node_terms(spec["headGroupSpec"]["template"]["spec"])
    workers = node_terms(spec["workerGroupSpecs"][0]["template"]["spec"])
    spot = {(term["matchExpressions"][0]["key"], *term["matchExpressions"][0]["values"]) for term in workers}
    assert {(one["key"], *one["values"]) for one in head["matchExpressions"]} == spot
    assert {one["operator"] for one in head["matchExpressions"]} == {"NotIn"}
    tolerations = spec["workerGroupSpecs"][0]["template"]["spec"]["tolerations"]
    assert {(one["key"], one["value"]) for one in tolerations} == spot


def test_a_job_has_the_cluster_of_the_other_file() -> None:
    alone, of_job = ray_cluster("raycluster"), copy.deepcopy(ray_cluster("rayjob"))
    pod = of_job["headGroupSpec"]["template"]["spec"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "job"]
    pod["containers"][0]["volumeMounts"].remove(mount)
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] != "job"]
    assert of_job == alone
    words = shlex.split(manifests("rayjob")["RayJob"]["spec"]["entrypoint"])
    assert Path(words[2]).parent == Path(mount["mountPath"])
    assert_command(words)


def assert_command(words: list[str]) -> None:
    """A command of allscan exists, with these options."""
    assert words[0] == "allscan"
    command_line.commands[words[1]].make_context(words[1], list(words[2:]))


# Containers


def test_the_container_file_is_sound() -> None:
    checked = subprocess.run(
        [program("hadolint"), DEPLOY / "Containerfile"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    users = re.findall(r"^USER (\S+)$", CONTAINER, flags=re.MULTILINE)
    assert users == ["1000"]
    assert "RAY_AUTH_MODE=token" in CONTAINER.split("USER 1000")[1]


def test_the_container_gets_what_the_package_is_made_of_and_nothing_else() -> None:
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", CONTAINER, flags=re.MULTILINE)
        for word in line.split()[:-1]
    }
    folders = {Path(folder).parts[0] for folder in PROJECT["tool"]["setuptools"]["package-dir"].values()}
    files = {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    assert copied == folders | files
    assert all((ROOT / name).exists() for name in copied)
    extras = set(re.findall(r"allscan\[([a-z,]+)\] @", CONTAINER)[0].split(","))
    assert extras <= set(PROJECT["project"]["optional-dependencies"])


def test_the_container_warms_the_kernels_by_commands_that_exist() -> None:
    lines = CONTAINER.replace("\\\n", " ").splitlines()
    (warming,) = [line.removeprefix("RUN ") for line in lines if line.startswith("RUN ") and "simulate" in line]
    commands = [part.strip() for part in warming.split("&&")]
    ours = [shlex.split(command) for command in commands if command.startswith("allscan")]
    assert [words[1] for words in ours] == ["simulate", "ingest", "run"]
    for words in ours:
        assert_command(words)
    assert commands[-1].startswith("rm -rf")
