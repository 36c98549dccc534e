"""The Python side of Navai: a client SDK, a reference server and the way into voice-agent frameworks."""
