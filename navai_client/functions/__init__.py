"""What a Python function is to a model: its name, its schema, how a payload becomes arguments, its result.

The server and local tools share this package. Its public names are those of :mod:`navai_client.server`.
"""
