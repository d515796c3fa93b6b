"""What `scripts/engine-kill` is made of.

ledger.py     what the daemon has promised, and what it has broken
clients.py    requests that may meet a dead daemon
workload.py   clients at work: runs, removals, builds, pulls, volumes
verdict.py    what is left when everything has been removed
"""
