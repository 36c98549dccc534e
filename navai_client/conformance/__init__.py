"""The conformance check: ``check(url)`` reports whether a Navai backend, in any language, keeps the contract.

::

    report = check("http://localhost:3000")
    print(report.to_text())
"""

from navai_client.conformance._catalogue import GROUPS, Requirement, requirements
from navai_client.conformance._check import check
from navai_client.conformance._profiles import PROFILES, Deviation, Profile
from navai_client.conformance._report import Finding, Report

__all__ = [
    "GROUPS",
    "PROFILES",
    "Deviation",
    "Finding",
    "Profile",
    "Report",
    "Requirement",
    "check",
    "requirements",
]
