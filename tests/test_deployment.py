"""The configuration files of examples/deploy do what the documentation says."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import attrs
import httpx
import kubernetes_validate
import pytest
import yaml

from navai_client import NavaiBackendClient
from navai_client.server import ServerSettings
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._upstream_settings import BackendOptions
from tests.deploying import DEPLOY, SECRET, container_of, environment, kubernetes, nginx
from tests.serving import Serve, Start

ROOT = Path(__file__).parent.parent


@pytest.fixture
def behind_nginx(serve: Serve, tmp_path: Path) -> Iterator[str]:
    """The URL of nginx in front of a demo server, configured as the example except for the ports."""
    hosts = re.search(r"NAVAI_ALLOWED_HOSTS=(\S+)", (DEPLOY / "nginx.conf").read_text())
    assert hosts is not None
    server = serve("--demo", NAVAI_ALLOWED_HOSTS=hosts[1])
    with nginx(tmp_path, server.url) as front:
        yield front.url


def test_the_backend_works_behind_nginx(behind_nginx: str) -> None:
    with NavaiBackendClient(behind_nginx) as client:
        assert "get_weather" in client.list_functions()
        assert client.execute_function("get_weather", {"location": "Oslo"})["location"] == "Oslo"
        assert client.create_client_secret().value.startswith("ek_")


def test_the_backend_behind_nginx_knows_the_name_that_clients_use(behind_nginx: str) -> None:
    with httpx.Client(base_url=behind_nginx, timeout=60) as client:
        own = {"host": "api.shop.example:8443", "origin": "https://api.shop.example:8443"}
        assert client.get("/navai/functions", headers=own).status_code == 200
        refused = client.get("/navai/functions", headers={"host": "evil.example"})
        assert refused.status_code == 400
        assert "NAVAI_ALLOWED_HOSTS" in refused.json()["error"]


def test_kubernetes_accepts_each_object() -> None:
    objects = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))
    assert [each["kind"] for each in objects] == [
        *("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"),
        *("StatefulSet", "Service", "NetworkPolicy"),
    ]
    for version in ("1.31", "1.37"):
        for each in objects:
            assert kubernetes_validate.validate(each, version, strict=True) == version
    objects[0]["spec"]["template"]["spec"]["containers"][0]["readinessProbe"]["periodSecond"] = 2
    with pytest.raises(kubernetes_validate.ValidationError, match="periodSecond"):
        kubernetes_validate.validate(objects[0], "1.37", strict=True)


def test_kubernetes_selects_what_it_means() -> None:
    for name in ("navai", "navai-store"):
        pods = kubernetes("StatefulSet" if name == "navai-store" else "Deployment", name)["spec"]
        labels, (container,) = pods["template"]["metadata"]["labels"], pods["template"]["spec"]["containers"]
        service = kubernetes("Service", name)["spec"]
        assert pods["selector"]["matchLabels"] == service["selector"] == labels
        port = service["ports"][0]
        assert port.get("targetPort", port["port"]) == container["ports"][0]["containerPort"]
    assert kubernetes("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]["name"] == "navai"
    assert kubernetes("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == {"app": "navai"}
    policy = kubernetes("NetworkPolicy")["spec"]
    assert policy["podSelector"]["matchLabels"] == {"app": "navai-store"}
    (allowed,) = policy["ingress"]
    assert allowed["from"] == [{"podSelector": {"matchLabels": {"app": "navai"}}}]


def test_kubernetes_gives_no_container_more_rights_than_it_needs() -> None:
    for kind in ("Deployment", "StatefulSet"):
        pod = kubernetes(kind)["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_kubernetes_passes_a_key_a_token_and_the_hosts() -> None:
    container = container_of("Deployment")
    kept = {
        each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each
    }
    assert kept == {
        "OPENAI_API_KEY": {"name": "navai", "key": "openai"},
        "NAVAI_ACCESS_TOKEN": {"name": "navai", "key": "access-token"},
        "STORE_PASSWORD": {"name": "navai", "key": "store-password"},
    }
    env = environment(container)
    classes = (ProcessSettings, ServerSettings, BackendOptions)
    known = {field.metadata.get("env") for cls in classes for field in attrs.fields(cls)}
    assert env.keys() - {"STORE_PASSWORD"} <= known
    settings = ServerSettings.from_env(env)
    assert settings.access_token == SECRET["access-token"]
    assert settings.store_url == f"redis://:{SECRET['store-password']}@navai-store:6379/0"
    assert settings.cors_origins == ("https://shop.example",)
    assert settings.allowed_hosts == ("api.shop.example", "navai", "navai.default.svc.cluster.local")
    assert settings.expose_errors is False


def test_kubernetes_probes_health_and_waits_for_calls_in_flight() -> None:
    pod = kubernetes("Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    process = ProcessSettings.from_env(environment(container))
    assert pod["terminationGracePeriodSeconds"] > process.drain_delay + process.grace
    ready = container["readinessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] < process.drain_delay
    port = container["ports"][0]["containerPort"]
    assert ready["httpGet"] == {"path": "/ready", "port": port}
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": port}
    assert pod["enableServiceLinks"] is False  # NAVAI_PORT=tcp://... is a variable of the Service navai


def test_the_container_has_what_kubernetes_asks_of_it() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    (user,) = (line.removeprefix("USER ") for line in lines if line.startswith("USER "))
    pod = kubernetes("Deployment")["spec"]["template"]["spec"]
    assert user == str(pod["securityContext"]["runAsUser"])
    assert any(line.startswith("RUN pip install ") and "[server,redis]" in line for line in lines)


def test_the_container_starts_the_server_for_others_to_reach() -> None:
    last = (DEPLOY / "Dockerfile").read_text().splitlines()[-1]
    assert last == 'CMD ["python", "-m", "navai_client.server", "--host", "0.0.0.0", "--port", "3000"]'


def test_the_container_does_not_lend_its_key_to_strangers(start: Start, serve: Serve) -> None:
    command = json.loads((DEPLOY / "Dockerfile").read_text().splitlines()[-1].removeprefix("CMD "))
    arguments = command[command.index("navai_client.server") + 1 : -2]  # without the port
    status, said = start(*arguments, OPENAI_API_KEY="sk-live-1")
    assert status == 2
    assert "Set NAVAI_ACCESS_TOKEN" in said
    server = serve(*arguments, OPENAI_API_KEY="sk-live-1", NAVAI_ACCESS_TOKEN="let-me-in")
    url = server.url.replace("0.0.0.0", "127.0.0.1")
    assert httpx.post(f"{url}/navai/realtime/client-secret", json={}, timeout=60).status_code == 401


def test_hosted_ci_runs_each_python_that_the_package_is_declared_for() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [each.rpartition(" ")[2] for each in project["classifiers"] if " :: Python :: 3." in each]
    assert workflow["jobs"]["run"]["strategy"]["matrix"]["python"] == declared
