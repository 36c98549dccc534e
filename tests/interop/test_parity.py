"""The parity table lists everything that the published packages have."""

import re
from typing import Final

import pytest

from tests.interop.node import Node
from tests.interop.peers import HERE
from tests.parity import systems

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


def test_every_environment_variable_and_function_of_the_backend_is_listed(node: Node) -> None:
    code = published("voice-backend", "index.js")
    variables = set(re.findall(r"\benv\??\.([A-Z][A-Z_]+)", code)) | set(
        re.findall(r'"(NAVAI_[A-Z_]+)"', code)
    )
    functions = set(re.findall(r"^  (\w+),?$", code.rpartition("export {")[2], re.MULTILINE))

    assert len(variables) > 20
    assert "registerNavaiExpressRoutes" in functions
    assert not (variables | functions) - listed("voice-backend")
