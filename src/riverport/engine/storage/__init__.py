"""Where the files of images and containers live.

    <data root>/overlay2/<id>/diff        the files of one layer, or what one container has changed
    <data root>/overlay2/<id>/recipe      how to write the layer's tar again, byte by byte (recipe.py)
    <data root>/overlay2/<id>/{work,merged}   of a container: overlayfs's scratch, and where its root is mounted
    <data root>/overlay2/l/<short>        a short link to each diff: many fit into one page of mount options
    <data root>/blobs/sha256/<hex>        what came from a registry, as it came (images/blobs.py)

    tar_reader.py  tar_writer.py   entries of an archive, from and to bytes; nothing of the file system in them
    compression.py                 gzip, zstd, bzip2, xz and none, told apart by their first bytes
    unpack.py                      an archive into a directory that no entry can leave
    pack.py  recipe.py             a directory as a layer's tar; the same tar again
    changes.py                     what a container has changed
    layers.py                      layers by chain id, and who uses them
    disk.py                        when what was written has reached the disk
    rootfs.py                      containers' root file systems
    overlay.py                     mounts without a mount point
    threads.py                     work on threads that whoever gives it up waits for

A layer is identified by its chain (the digest of its own diff id and of all below), is never changed once registered,
and lives as long as an image, a container or another layer refers to it. References are never counted on the disk: who
refers to what is written down, and the counts follow from it at each start, together with a comparison of the tables
with the directories: whatever nobody refers to goes. So a daemon that is killed leaves nothing behind.

Sources: OCI image specification ("Image Layer Filesystem Changeset"), Linux Documentation/filesystems/overlayfs.rst,
pax(1) and tar(5) for archives.
"""
