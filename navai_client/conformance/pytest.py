"""The check as tests of pytest, one for each requirement.

::

    @pytest.fixture(scope="session")
    def report() -> Report:
        return check("http://localhost:3000")


    @every_requirement()
    def test_the_backend_keeps_the_contract(requirement: Requirement, report: Report) -> None:
        verify(report, requirement)

This module has these tests itself, for the backend at ``NAVAI_API_URL``. pytest runs them by the module's
name and writes JUnit's XML, which CI services show::

    NAVAI_API_URL=http://localhost:3000 pytest --pyargs navai_client.conformance.pytest --junitxml=navai.xml
"""

import warnings
from collections.abc import Iterable

import pytest

from navai_client.conformance._catalogue import Requirement, requirements
from navai_client.conformance._check import check
from navai_client.conformance._report import Report

__all__ = ["ConformanceWarning", "every_requirement", "verify"]


class ConformanceWarning(UserWarning):
    """Something that a backend should do, and does not."""


def every_requirement(groups: Iterable[str] | None = None) -> pytest.MarkDecorator:
    """Run a test once for each requirement, which it gets as its argument *requirement*.

    Args:
        groups: Which groups of requirements; None means all. The report must have them, too.
    """
    return pytest.mark.parametrize(
        "requirement", [pytest.param(each, id=each.id) for each in requirements(groups)]
    )


def verify(report: Report, requirement: Requirement) -> None:
    """End a test with the verdict of *report*.

    A violated *must* fails the test and says what was asked, what came and what to change. A violated
    *should* is a :class:`ConformanceWarning`, so that ``-W error`` makes it fail, too. What was not sent or
    could not be judged is skipped, with the reason.

    Args:
        report: The result of :func:`navai_client.conformance.check`.
        requirement: The requirement.
    """
    __tracebackhide__ = True
    finding = report[requirement]
    if finding.verdict == "skipped":
        pytest.skip(finding.reason)
    if finding.verdict == "failed":
        pytest.fail(finding.to_text(), pytrace=False)
    if finding.verdict == "warned":
        warnings.warn(finding.to_text(), ConformanceWarning, stacklevel=2)


@pytest.fixture(scope="session", name="report")
def _report() -> Report:
    return check()


@every_requirement()
def test_the_backend_keeps_the_contract(requirement: Requirement, report: Report) -> None:
    """Verify one requirement of the backend at ``NAVAI_API_URL``."""
    verify(report, requirement)
