"""As broken.js."""

raise RuntimeError("this module is broken on purpose")
