"""Base images out of what the machine has, for first steps without a registry.

    busybox.py    a static busybox, links for its applets, a handful of files: 2 MB
    debian.py     Debian's smallest system, which debootstrap fetches from the mirror that apt uses

Each makes one plain tar for `POST /images/create?fromSrc=-`; nothing here talks to a daemon.
"""
