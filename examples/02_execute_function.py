"""Execute a function, and handle each kind of failure.

Needs: a backend (``navai serve --demo`` in another terminal, or NAVAI_API_URL); no key.
Run: python examples/02_execute_function.py
"""

import sys

from navai_client import (
    FunctionFailedError,
    NavaiBackendClient,
    NavaiHTTPError,
    NavaiTransportError,
    UnknownFunctionError,
)

with NavaiBackendClient(timeout=10) as client:
    try:
        weather = client.execute_function("get_weather", {"location": "San Francisco"})
    except UnknownFunctionError as error:
        sys.exit(f"{error.function_name} is not offered; there are {', '.join(error.available_functions)}")
    except FunctionFailedError as error:
        sys.exit(f"get_weather failed: {error}")
    except NavaiHTTPError as error:
        sys.exit(f"The backend refused ({error.status_code}): {error}")
    except NavaiTransportError as error:
        done = (
            "It may have run."
            if error.may_have_executed
            else "It did not run. Start a backend: navai serve --demo"
        )
        sys.exit(f"{error} {done}")

print(f"{weather['temperature']} degrees {weather['unit']}, {weather['condition']}")
