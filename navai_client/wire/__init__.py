"""The Navai contract without I/O: the only package that knows JSON names and contract texts.

Nothing here opens a socket, reads a clock or knows of threads, tasks or HTTP libraries.
"""
