"""Machines that do not exist: what the production code runs on when somebody wants to break it.

    disk.py      SimDisk: a file system with faults, a capacity, power cuts
    inodes.py    its files and directories: what is synced, and what a power cut makes of the rest
    loop.py      World and SimLoop: simulated time, and an asyncio event loop for each process in it
    network.py   Network: hosts and links with delays, loss and cuts; transport.py one end of a connection on them
    process.py   SimNode and SimClient: nodes and clients of the production code, as processes of the simulation

Everything here is deterministic: chance comes from seeded generators. Only tests, `testing` and `cli` import it.
"""

from riverport.sim.disk import SimDisk

__all__ = ["SimDisk"]
