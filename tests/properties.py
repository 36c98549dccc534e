"""Settings for property tests, and the values that several of them draw."""

from typing import Any, Final

from hypothesis import HealthCheck, settings, strategies as st

PROPERTY: Final = settings(
    max_examples=150,
    deadline=None,  # a slow machine is not a failure
    suppress_health_check=[HealthCheck.too_slow],
)

# Any character, lone surrogates too.
TEXT: Final = st.text(st.characters(), max_size=20)

SCALARS: Final = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**17, max_value=10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)


def _nested(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(children, max_size=4) | st.dictionaries(TEXT, children, max_size=4)


JSON: Final[st.SearchStrategy[Any]] = st.recursive(SCALARS, _nested, max_leaves=12)
