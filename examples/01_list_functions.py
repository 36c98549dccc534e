"""A script that lists the tools available on a backend.

The backend is the one that NAVAI_API_URL names, else http://localhost:3000.
"""

from navai_client import NavaiBackendClient

with NavaiBackendClient() as client:
    functions = client.list_functions()

for warning in functions.warnings:
    print("warning:", warning)
for function in functions:
    arguments = ", ".join((function.parameters or {}).get("properties", {}))
    print(f"{function.name}({arguments}): {function.description}")
