"""The configuration files of examples/deploy do what the documentation says."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from navai_client import NavaiBackendClient

DEPLOY = Path(__file__).parents[1] / "examples" / "deploy"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@pytest.fixture
def behind_nginx(demo_server: str, tmp_path: Path) -> Iterator[str]:
    """The URL of nginx in front of the demo server, configured as the example except for the ports."""
    if NGINX is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nginx is not installed")
        pytest.skip("nginx is not installed")
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    text = (DEPLOY / "nginx.conf").read_text()
    text = text.replace("127.0.0.1:3000", demo_server.removeprefix("http://"))
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


def test_kubernetes_probes_health_and_waits_for_calls_in_flight() -> None:
    deployment, service = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    port = container["ports"][0]["containerPort"]
    assert pod["terminationGracePeriodSeconds"] > 30
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": port}
    assert service["spec"]["ports"][0]["targetPort"] == port
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]


def test_the_container_starts_the_server_for_others_to_reach() -> None:
    last = (DEPLOY / "Dockerfile").read_text().splitlines()[-1]
    assert last == 'CMD ["python", "-m", "navai_client.server", "--host", "0.0.0.0", "--port", "3000"]'
