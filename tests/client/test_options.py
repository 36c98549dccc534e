"""The settings of a client and of a single call. One suite for both clients."""

import pytest

from tests.backends import BASE, Backend, Clients, answer


class TestProperties:
    """What a client says about itself."""

    def test_a_client_has_its_base_url_its_timeout_and_whether_it_is_closed(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({})), f"{BASE}/api/", timeout=5).real
        assert (client.base_url, client.timeout, client.is_closed) == (f"{BASE}/api", 5.0, False)
        assert clients.make(Backend(answer({})), BASE, timeout=None).real.timeout is None

    def test_a_closed_client_says_so(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({})), BASE)
        client.close()
        assert client.real.is_closed

    @pytest.mark.parametrize("name", ["base_url", "timeout", "is_closed"])
    def test_none_of_it_can_be_set(self, mocked: Clients, name: str) -> None:
        client = mocked.make(Backend(answer({})), BASE).real
        with pytest.raises(AttributeError):
            setattr(client, name, getattr(client, name))
