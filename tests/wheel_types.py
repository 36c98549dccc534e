"""The types of the installed wheel. Run by .ci/run: ``wheel_types.py PYRIGHT PYTHON``."""

import json
import os
import subprocess
import sys
from pathlib import Path

LEAST = 400  # public names: with fewer, pyright has not seen the whole package
# Their frameworks derive from classes of packages without types (livekit.rtc).
UNTYPED_BASES = {"navai_client.integrations.livekit.NavaiTTS"}


def main(pyright: str, python: str) -> None:
    """Exit with an error if a public name of the package has an unknown type."""
    environment = {**os.environ, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["VIRTUAL_ENV"] = str(Path(python).parents[1])
    command = [pyright, "--verifytypes", "navai_client", "--ignoreexternal", "--outputjson"]
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    found = json.loads(finished.stdout)["typeCompleteness"]
    public = found["exportedSymbolCounts"]
    unknown = {
        symbol["name"] for symbol in found["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]
    }
    ambiguous = {symbol["name"] for symbol in found["symbols"] if symbol.get("isTypeAmbiguous")}
    if not found["pyTypedPath"] or public["withKnownType"] < LEAST or unknown - ambiguous != UNTYPED_BASES:
        sys.exit(f"wheel types: {public}, unknown: {sorted(unknown - ambiguous)}")
    print(f"wheel types: {found['completenessScore']:.1%} of {sum(public.values())} public names are exact")


if __name__ == "__main__":
    main(*sys.argv[1:])
