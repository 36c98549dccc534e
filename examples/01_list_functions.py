"""A script that lists the tools available on a backend.

Needs: a backend (``navai serve --demo`` in another terminal, or NAVAI_API_URL); no key.
Run: python examples/01_list_functions.py
"""

import _explain

from navai_client import NavaiBackendClient

with NavaiBackendClient() as client:
    functions = client.list_functions()

functions.raise_for_error()  # listing raises nothing by itself: an agent can talk without tools
for warning in functions.warnings:
    print("warning:", warning)
for function in functions:
    arguments = ", ".join((function.parameters or {}).get("properties", {}))
    print(f"{function.name}({arguments}): {function.description}")
