"""The configuration files of examples/deploy do what the documentation says."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from navai_client import NavaiBackendClient
from navai_client.server import ServerSettings
from navai_client.server._settings import ProcessSettings
from tests.serving import Serve, Start

DEPLOY = Path(__file__).parents[1] / "examples" / "deploy"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@pytest.fixture
def behind_nginx(serve: Serve, tmp_path: Path) -> Iterator[str]:
    """The URL of nginx in front of a demo server, configured as the example except for the ports."""
    if NGINX is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nginx is not installed")
        pytest.skip("nginx is not installed")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    text = (DEPLOY / "nginx.conf").read_text()
    hosts = re.search(r"NAVAI_ALLOWED_HOSTS=(\S+)", text)
    assert hosts is not None
    server = serve("--demo", NAVAI_ALLOWED_HOSTS=hosts[1])
    text = text.replace("127.0.0.1:3000", server.url.removeprefix("http://"))
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}")
    temporary = "".join(
        f"{kind}_temp_path {tmp_path / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off;\n{temporary}{text} }}\n"
    )
    command = [NGINX, "-c", str(configuration), "-p", str(tmp_path), "-e", str(tmp_path / "error.log")]
    subprocess.run(command, check=True)  # it goes into the background once it listens
    yield f"http://127.0.0.1:{port}"
    subprocess.run([*command, "-s", "stop"], check=True)


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


def test_kubernetes_passes_a_key_a_token_and_the_hosts() -> None:
    deployment, _ = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    kept = {
        each["name"]: each["valueFrom"]["secretKeyRef"] for each in container["env"] if "valueFrom" in each
    }
    assert kept == {
        "OPENAI_API_KEY": {"name": "navai", "key": "openai"},
        "NAVAI_ACCESS_TOKEN": {"name": "navai", "key": "access-token"},
    }
    settings = ServerSettings.from_env({**env, **dict.fromkeys(kept, "from-the-secret")})
    assert settings.access_token == "from-the-secret"
    assert settings.cors_origins == ("https://shop.example",)
    assert settings.allowed_hosts == ("api.shop.example", "navai", "navai.default.svc.cluster.local")


def test_kubernetes_probes_health_and_waits_for_calls_in_flight() -> None:
    deployment, service = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    port = container["ports"][0]["containerPort"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    process = ProcessSettings.from_env(env)
    assert pod["terminationGracePeriodSeconds"] > process.drain_delay + process.grace
    assert (
        ServerSettings.from_env({**env, "NAVAI_ACCESS_TOKEN": "x"}).max_key_bytes < 256 * 2**20
    )  # its memory
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": port}
    assert service["spec"]["ports"][0]["targetPort"] == port
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]


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
