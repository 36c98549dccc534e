"""The parity table lists everything that the published packages have."""

import re
from typing import Final

import pytest

from tests.interop.node import Node
from tests.interop.peers import HERE
from tests.parity import systems
from tests.server.settings_table import PAGE

TYPES: Final = {
    "voice-frontend": (
        "CreateNavaiBackendClientOptions",
        "NavaiBackendClient",
        "CreateClientSecretInput",
        "SynthesizeSpeechInput",
    ),
    "voice-backend": ("RegisterNavaiExpressRoutesOptions", "NavaiVoiceBackendOptions"),
}


def listed(package: str) -> set[str]:
    """Return the rows of *package*."""
    return {row.theirs for name, rows in systems().items() if f"@navai/{package} " in name for row in rows}


def published(package: str, file: str) -> str:
    """Return a file of *package*."""
    return (HERE / "node_modules" / "@navai" / package / "dist" / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("package", TYPES)
def test_every_option_field_and_method_is_listed(package: str, node: Node) -> None:
    types = published(package, "index.d.ts")
    names = set()
    for name in TYPES[package]:
        body = re.search(rf"^type {name} = {{\n(.*?)^}};", types, re.DOTALL | re.MULTILINE)
        assert body is not None
        names |= set(re.findall(r"^ +(\w+)\??:", body[1], re.MULTILINE))

    assert names
    assert not names - listed(package)


def read_variables(package: str) -> set[str]:
    """Return the environment variables that the files of *package* read."""
    folder = HERE / "node_modules" / "@navai" / package
    files = [file for pattern in ("dist/*.js", "bin/*.mjs") for file in folder.glob(pattern)]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    by_name = re.findall(r"""\benv\??\.?\[?["']?([A-Z][A-Z_]+)\b""", code)
    in_lists = re.findall(r"_ENV_KEYS = \[([^\]]*)\]", code)
    return {*by_name, *re.findall(r'"(\w+)"', " ".join(in_lists))}


@pytest.mark.parametrize(("package", "least"), [("voice-frontend", 6), ("voice-backend", 22)])
def test_every_environment_variable_of_a_package_is_listed_and_documented(
    package: str, least: int, node: Node
) -> None:
    variables = read_variables(package)
    assert len(variables) >= least
    assert not variables - listed(package)
    documented = PAGE.read_text(encoding="utf-8").partition("<!-- variables: begin -->")[2]
    assert not {name for name in variables if f"| `{name}` |" not in documented}


def test_every_function_of_the_backend_is_listed(node: Node) -> None:
    code = published("voice-backend", "index.js")
    functions = set(re.findall(r"^  (\w+),?$", code.rpartition("export {")[2], re.MULTILINE))

    assert "registerNavaiExpressRoutes" in functions
    assert not functions - listed("voice-backend")
