"""Backend functions as tools of agent frameworks: one module and one extra for each framework.

``toolset``, ``tools`` and ``routes`` know no framework; a framework loads only with its own module.
"""
