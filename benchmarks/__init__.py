"""Measurements beside other clients and servers. ``make bench`` runs them and prints their tables."""
