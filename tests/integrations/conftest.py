"""Fixtures of several integrations' tests."""

import pytest

from navai_client.integrations import _calls


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep connections to this machine away from a proxy that the environment may name."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def asked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a toolset ask at once, and again and again, what came of a call that waits for approval."""
    monkeypatch.setattr(_calls, "_FIRST_QUESTION", 0.01)
    monkeypatch.setattr(_calls, "_LONGEST_DELAY", 0.01)
