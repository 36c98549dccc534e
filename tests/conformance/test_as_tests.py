"""The check as tests of pytest, in a user's project and by the name of the module."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from navai_client.conformance import requirements
from tests.pytest_runs import NO_PLUGINS_OF_OTHERS

pytest_plugins = ["pytester"]

# Plugins that other packages bring: as in pyproject.toml.
OPTIONS = ("-p", "no:cacheprovider", *NO_PLUGINS_OF_OTHERS)

PROJECT = """
    import pytest

    from navai_client.conformance import check
    from navai_client.conformance.pytest import every_requirement, verify

    @pytest.fixture(scope="session")
    def report():
        return check({url!r}, {arguments})

    @every_requirement({groups})
    def test_the_backend_keeps_the_contract(requirement, report):
        verify(report, requirement)
"""


def run(
    pytester: pytest.Pytester, *options: str, url: str, arguments: str = "", groups: str = ""
) -> pytest.RunResult:
    pytester.makepyfile(PROJECT.format(url=url, arguments=arguments, groups=groups))
    return pytester.runpytest_inprocess(*OPTIONS, *options)


def test_each_requirement_is_a_test_with_its_id(pytester: pytest.Pytester, demo_server: str) -> None:
    result = run(pytester, "-v", url=demo_server)

    acting = sum(bool(each.acts) for each in requirements())
    result.assert_outcomes(passed=len(requirements()) - acting - 1, skipped=acting + 1)
    result.stdout.fnmatch_lines(["*test_the_backend_keeps_the_contract[[]EXEC-04[]] PASSED*"])


def test_a_test_that_fails_says_what_was_asked_what_came_and_what_to_change(
    pytester: pytest.Pytester, demo_server: str
) -> None:
    result = run(pytester, url=demo_server, arguments="functions_list_path='/nothing'")

    result.stdout.fnmatch_lines(
        [
            "LIST-01 failed: Listing functions returns a status of 200 to 299.",
            "  asked:   GET /nothing",
            '  came:    HTTP 404 (application/json; charset=utf-8): {"error":"Not found."}',
            "  change:  Return 200 to GET on this path.*",
        ]
    )
    result.stdout.no_fnmatch_line("*def test_the_backend*")


def test_a_skipped_test_says_why(pytester: pytest.Pytester, demo_server: str) -> None:
    result = run(
        pytester, "-rs", url=demo_server, arguments="groups='client-secret'", groups="'client-secret'"
    )

    result.assert_outcomes(passed=1, skipped=10)
    result.stdout.fnmatch_lines(["SKIPPED * it acts on the backend; allow it with mint=True"])


@pytest.mark.parametrize("strict", [False, True])
def test_a_violated_should_is_a_warning_or_with_w_error_a_failure(
    pytester: pytest.Pytester, demo_server: str, strict: bool
) -> None:
    options = (
        ["-W", "error::navai_client.conformance.pytest.ConformanceWarning"] if strict else ["-W", "always"]
    )
    given = "groups='cors', origin='https://app.example.com'"
    result = run(pytester, *options, url=demo_server, arguments=given, groups="'cors'")

    assert result.ret == (1 if strict else 0)
    result.stdout.fnmatch_lines(
        [
            "*CORS-04 warned: A preflight from an allowed origin is granted, without credentials.",
            "*came: *HTTP 403 with no Access-Control-Allow-Origin*",
        ]
    )
    result.assert_outcomes(passed=3 + (not strict), skipped=4, failed=int(strict), warnings=int(not strict))


def test_a_requirement_that_the_report_does_not_have_is_an_error(
    pytester: pytest.Pytester, demo_server: str
) -> None:
    result = run(pytester, "-k", "EXEC-01", url=demo_server, arguments="groups='list'")

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*KeyError: 'EXEC-01 was not checked.'*"])


def test_the_tests_of_the_documentation_run(pytester: pytest.Pytester, demo_server: str) -> None:
    page = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    (example,) = (each for each in page.split("```")[1::2] if "every_requirement" in each)
    pytester.makepyfile(example.removeprefix("python\n").replace("http://localhost:3000", demo_server))

    result = pytester.runpytest_inprocess(*OPTIONS)

    assert result.ret == 0
    assert result.parseoutcomes()["passed"] > 30


def test_the_module_checks_the_backend_at_navai_api_url_and_pytest_writes_junit(
    pytester: pytest.Pytester, demo_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAVAI_API_URL", demo_server)

    result = pytester.runpytest_inprocess(
        *OPTIONS, "--pyargs", "navai_client.conformance.pytest", "--junitxml=navai.xml"
    )

    acting = sum(bool(each.acts) for each in requirements())
    result.assert_outcomes(passed=len(requirements()) - acting - 1, skipped=acting + 1)
    (suite,) = ET.parse(pytester.path / "navai.xml").getroot()
    cases = {case.attrib["name"]: case for case in suite.iter("testcase")}
    assert len(cases) == len(requirements())
    (skipped,) = cases["test_the_backend_keeps_the_contract[SECRET-02]"]
    assert skipped.attrib["message"] == "it acts on the backend; allow it with mint=True"


def test_junit_says_of_a_failure_what_was_asked_what_came_and_what_to_change(
    pytester: pytest.Pytester, demo_server: str
) -> None:
    given = "functions_list_path='/nothing', groups='list'"
    run(pytester, "--junitxml=navai.xml", url=demo_server, arguments=given, groups="'list'")

    (failure,) = ET.parse(pytester.path / "navai.xml").getroot().iterfind(".//failure")
    assert "asked:   GET /nothing" in failure.text if failure.text else False
    assert failure.attrib["message"].startswith("Failed: LIST-01 failed: Listing functions returns a status")
