"""Which route a person means."""

import pytest
from hypothesis import given, strategies as st

from navai_client.integrations.routes import NavaiRoute, resolve_navai_route, route_prompt_lines

ROUTES = (
    NavaiRoute(name="Perfil", path="/profile", description="Who you are", synonyms=("mi cuenta", "Profile")),
    NavaiRoute(name="Configuración", path="/settings"),
    NavaiRoute(name=" ", path="/blank"),
    NavaiRoute(name="profile settings", path="/both"),
)


@pytest.mark.parametrize(
    ("spoken", "path"),
    [
        ("perfil", "/profile"),
        ("  PERFIL ", "/profile"),
        ("/Settings", "/settings"),
        ("configuracion", "/settings"),
        ("CONFIGURACIÓN", "/settings"),
        ("Mi Cuenta", "/profile"),
        ("llévame a mi cuenta, por favor", "/profile"),
        ("profile settings", "/both"),
        ("open profile settings", "/profile"),
        ("the moon", None),
        ("", "/blank"),
    ],
)
def test_spoken_words_find_their_route(spoken: str, path: str | None) -> None:
    assert resolve_navai_route(spoken, ROUTES) == path


def test_routes_can_be_any_iterable_and_no_routes_match_nothing() -> None:
    assert resolve_navai_route("perfil", iter(ROUTES)) == "/profile"
    assert resolve_navai_route("perfil", ()) is None


@given(st.text())
def test_only_allowed_paths_are_returned(spoken: str) -> None:
    assert resolve_navai_route(spoken, ROUTES) in {None, *(route.path for route in ROUTES)}


def test_each_route_is_a_line_of_the_instructions() -> None:
    assert route_prompt_lines(ROUTES[:2]) == [
        "- Perfil (/profile), aliases: mi cuenta, Profile",
        "- Configuración (/settings)",
    ]


def test_synonyms_are_a_list_of_strings() -> None:
    with pytest.raises(TypeError, match=r"^synonyms: expected a list of strings"):
        NavaiRoute(name="a", path="/a", synonyms="abc")
