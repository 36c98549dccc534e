"""Python functions as models see them: name, schema, binding of payloads to arguments, result.

The server and local tools share this package. Its public names are those of :mod:`navai_client.server`.
"""
