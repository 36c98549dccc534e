"""Whether a Navai backend, in any language, keeps the contract: ``check(url)`` gives a report.

::

    report = check("http://localhost:3000")
    print(report.to_text())
"""

from navai_client.conformance.catalogue import requirements
from navai_client.conformance.checking import check
from navai_client.conformance.profiles import PROFILES, Deviation, Profile
from navai_client.conformance.report import Finding, Report
from navai_client.conformance.requirement import GROUPS, Requirement

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
