"""As empty.js."""
