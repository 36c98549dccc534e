"""The check as tests of pytest: one for each requirement.

::

    @pytest.fixture(scope="session")
    def report() -> Report:
        return check("http://localhost:3000")


    @every_requirement()
    def test_the_backend_keeps_the_contract(requirement: Requirement, report: Report) -> None:
        verify(report, requirement)
"""

import warnings
from collections.abc import Iterable

import pytest

from navai_client.conformance._catalogue import requirements
from navai_client.conformance._report import Report
from navai_client.conformance._requirement import Requirement

__all__ = ["ConformanceWarning", "every_requirement", "verify"]


class ConformanceWarning(UserWarning):
    """Something that a backend should do, and does not."""


def every_requirement(groups: Iterable[str] | None = None) -> pytest.MarkDecorator:
    """Run a test for each requirement: it gets it as its argument *requirement*.

    Args:
        groups: Which groups of requirements; None means all. The report must have them too.
    """
    return pytest.mark.parametrize(
        "requirement", [pytest.param(each, id=each.id) for each in requirements(groups)]
    )


def verify(report: Report, requirement: Requirement) -> None:
    """End a test as *report* has it.

    It fails when something that must be is not, and says what was asked, what came and what to change. What
    only should be is a :class:`ConformanceWarning`, so that ``-W error`` makes it fail, too. What was not
    asked or could not be seen is skipped, with the reason.

    Args:
        report: What :func:`navai_client.conformance.check` found.
        requirement: Which requirement it is about.
    """
    __tracebackhide__ = True
    finding = report[requirement]
    if finding.verdict == "skipped":
        pytest.skip(finding.reason)
    if finding.verdict == "failed":
        pytest.fail(finding.to_text(), pytrace=False)
    if finding.verdict == "warned":
        warnings.warn(finding.to_text(), ConformanceWarning, stacklevel=2)
