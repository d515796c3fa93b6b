"""What containers see of the world outside their image: volumes, directories of the host, memory, other images.

    mount_point.py   MountPoint: one place in a container and what is mounted there
    binds.py         `-v SOURCE:TARGET:MODE` and `--volumes-from`, taken apart
    mounts.py        the entries of HostConfig.Mounts (`--mount`), checked
    tmpfs.py         options of memory file systems
    plan.py          all of a container's mount points out of its configuration; Docker's order and precedence
    local.py         a volume, and what the options of the driver `local` mean
    copy_up.py       the image's files into a volume that is empty yet
    placing.py       mounts inside a shim's mount namespace, where they end with the container
    mounted.py       mount points made real for a container that starts
    volumes.py       Volumes: creates and removes, counts who uses what

Everything up to `plan.py` is pure. A volume is a document (kind "volumes") and a directory, NAME/_data below the data
root. The document comes last and goes first, so that a kill in between leaves a directory that the next start clears
away, never a volume without one. A volume is claimed by every container that has it among its mount points, running or
not, and can be removed when nobody claims it.
"""
