"""A deterministic simulation of clients, replicas and their store: one seed is one history, replayed at will.

``world`` has the processes and clocks, ``network`` the packets, ``redis`` a server of Redis' protocol,
``scenario`` what happens with a seed, ``history`` what was seen and the rules that it must keep, ``bugs``
mistakes that the rules must find. CONTRIBUTING.md says how to run it.
"""
