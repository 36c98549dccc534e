"""The exception tree, the attributes of each exception, and that copies keep them."""

import copy
import pickle
import traceback
from typing import Any

import pytest

from navai_client import errors
from navai_client.errors import (
    ApprovalPendingError,
    FunctionFailedError,
    InvalidResponseError,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiStateError,
    NavaiTimeoutError,
    NavaiTransportError,
    OutcomeUnknownError,
    UnknownFunctionError,
)

HTTP: dict[str, Any] = {
    "status_code": 418,
    "body": '{"error":1}',
    "error": {"a": [1]},
    "details": "why",
    "code": "rest_forbidden",
    "validation_errors": ("$.city is required.",),
    "headers": {"retry-after": "3", "x-powered-by": "tea"},
    "request_id": "r-1",
    "retry_after": 3.0,
}
CASES: list[tuple[type[NavaiError], dict[str, Any]]] = [
    (NavaiError, {}),
    (NavaiConfigError, {}),
    (NavaiPayloadError, {}),
    (NavaiStateError, {}),
    (NavaiTransportError, {"may_have_executed": False, "request_id": "r-1"}),
    (NavaiTransportError, {"may_have_executed": True, "request_id": None}),
    (NavaiTimeoutError, {"may_have_executed": False, "request_id": "r-1"}),
    (NavaiHTTPError, HTTP),
    (OutcomeUnknownError, {**HTTP, "function_name": "f"}),
    (UnknownFunctionError, {**HTTP, "function_name": "f", "available_functions": ("a", "b")}),
    (
        ApprovalPendingError,
        {
            "function_name": "f",
            "approval_id": "7",
            "trace_id": "t-1",
            "idempotency_key": "call-1",
            "request_id": "r-1",
        },
    ),
    (InvalidResponseError, {"status_code": 201, "may_have_executed": True, "request_id": "r-1"}),
    (
        FunctionFailedError,
        {
            "function_name": "f",
            "error": ["e"],
            "details": {"d": 1},
            "details_for_model": True,
            "status_code": 500,
            "may_have_executed": True,
            "request_id": "r-1",
        },
    ),
]


@pytest.mark.parametrize(("cls", "attributes"), CASES)
@pytest.mark.parametrize("message", ["what went wrong", "", "\ud800 {} %s"])
def test_errors_can_be_copied_and_pickled_with_all_attributes(
    cls: type[NavaiError], attributes: dict[str, Any], message: str
) -> None:
    error = cls(message, **attributes)
    error.add_note("a note")
    copies = [copy.copy(error), copy.deepcopy(error)]
    copies += [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for same in (error, *copies):
        assert type(same) is cls
        assert str(same) == message
        assert same.args == (message,)
        assert vars(same) == {**attributes, "__notes__": ["a note"]}


@pytest.mark.parametrize(("cls", "attributes"), CASES)
def test_an_error_can_be_made_from_a_message_alone(cls: type[NavaiError], attributes: dict[str, Any]) -> None:
    assert str(cls("why")) == "why"
    assert str(cls()) == ""
    assert vars(cls()).keys() == attributes.keys()


def test_every_class_is_tested_above() -> None:
    assert {cls.__name__ for cls, _ in CASES} == set(errors.__all__)


@pytest.mark.parametrize(
    ("cls", "bases"),
    [
        (NavaiConfigError, (NavaiError, ValueError)),
        (NavaiPayloadError, (NavaiError, TypeError)),
        (NavaiStateError, (NavaiError, RuntimeError)),
        (NavaiTransportError, (NavaiError, OSError)),
        (NavaiTimeoutError, (NavaiTransportError, TimeoutError)),
        (NavaiHTTPError, (NavaiError,)),
        (OutcomeUnknownError, (NavaiHTTPError,)),
        (UnknownFunctionError, (NavaiHTTPError,)),
        (InvalidResponseError, (NavaiError,)),
        (FunctionFailedError, (NavaiError,)),
    ],
)
def test_each_error_can_be_caught_by_its_base_classes(cls: type[NavaiError], bases: tuple[type, ...]) -> None:
    assert cls.__bases__ == bases
    assert issubclass(cls, NavaiError)


def test_the_documented_tree_is_the_actual_one() -> None:
    assert errors.__doc__ is not None
    drawn = [line for line in errors.__doc__.splitlines() if "──" in line]
    assert len(drawn) == len(errors.__all__) - 1
    for line in drawn:
        name, _, builtin = line.split("── ")[1].partition(" ")
        cls = getattr(errors, name)
        if builtin.startswith("("):
            assert builtin[1 : builtin.index(")")] in {base.__name__ for base in cls.__bases__}


def test_headers_are_found_by_their_names_in_any_case() -> None:
    headers = NavaiHTTPError("why", headers={"Retry-After": "3", "x-key": "a-secret"}).headers
    assert headers["retry-after"] == headers["RETRY-AFTER"] == headers.get("Retry-After") == "3"
    assert "X-Key" in headers
    assert headers.get("via") is None
    assert dict(headers) == {"retry-after": "3", "x-key": "a-secret"}
    assert (len(headers), repr(headers)) == (2, "<Headers: retry-after, x-key>")


def test_may_have_executed_is_true_by_default() -> None:
    assert NavaiTransportError("why").may_have_executed
    assert NavaiTimeoutError("why").may_have_executed


def test_no_traceback_text_shows_attributes() -> None:
    error = NavaiHTTPError("why", status_code=400, body="the-body", error="the-error")
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert "the-body" not in shown
    assert "the-error" not in shown
