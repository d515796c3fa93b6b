"""A machine that does not exist: what the production code runs on when a test wants to break it.

    disk.py      SimDisk: a file system that knows what is synced, and forgets or tears the rest in a power cut

Everything here is deterministic: chance comes from a `random.Random` that the caller seeds. Only tests, `testing` and
`cli` import it.
"""

from riverport.sim.disk import SimDisk

__all__ = ["SimDisk"]
