"""The way into voice agents: one file for each framework, one extra each; nothing loads one unasked."""
