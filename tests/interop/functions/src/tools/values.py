"""As values.js."""

__all__ = ["answer"]

answer = 42
