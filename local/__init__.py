"""Sextant on one machine: the real servers and the services as local processes, without containers.

`python -m local up|down|status|env` is the command; `servers.up` and `services.up` are what tests use.
Downloads are kept in the cache folder, checked against `digests.txt`; running data lies under `.local/`.
"""
