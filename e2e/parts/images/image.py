#!/usr/bin/env python3
"""Writes a container image of one layer as an OCI archive, with nothing but Python's own library.

The archive goes into containerd with `ctr images import`, into Docker with `docker load`. The same input gives the same
bytes. Everything in it belongs to root, save the folders that --folder gives to someone else.
"""

import argparse
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import platform
import stat
import tarfile
import tempfile

MEDIA = "application/vnd.oci.image."
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="image name with tag, like pitr.local/tools:1 or pitr-sidecar:0.1.0")
    parser.add_argument("out", type=pathlib.Path, help="the archive to write")
    parser.add_argument("--root", type=pathlib.Path, help="folder that becomes the image's root")
    parser.add_argument("--file", action="append", default=[], metavar="SOURCE:PATH", help="a program to add, mode 755")
    parser.add_argument("--folder", action="append", default=[], metavar="PATH:MODE:UID", help="an empty folder to add")
    parser.add_argument("--entrypoint", type=json.loads, default=[], metavar="JSON")
    parser.add_argument("--cmd", type=json.loads, default=[], metavar="JSON")
    parser.add_argument("--user", default="", help="UID:GID that runs it")
    return parser.parse_args()


def full_name(name):
    """The name that Kubernetes makes of a short one: no host in it means Docker's registry."""
    first = name.split("/")[0]
    if "/" not in name:
        return "docker.io/library/" + name
    return name if "." in first or ":" in first or first == "localhost" else "docker.io/" + name


def anonymous(info):
    """Leaves out of a tar entry what differs from machine to machine."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def write_layer(target, options):
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        if options.root:
            for folder, folders, files in os.walk(options.root):
                folders.sort()
                for name in sorted(folders + files):
                    path = pathlib.Path(folder, name)
                    if not stat.S_ISSOCK(path.lstat().st_mode):
                        tar.add(path, str(path.relative_to(options.root)), recursive=False, filter=anonymous)
        for spec in options.folder:
            path, mode, uid = spec.split(":")
            info = anonymous(tarfile.TarInfo(path.lstrip("/")))
            info.type, info.mode = tarfile.DIRTYPE, int(mode, 8)
            info.uid = info.gid = int(uid)
            tar.addfile(info)
        for spec in options.file:
            source, path = spec.split(":")
            with open(source, "rb") as content:
                info = anonymous(tar.gettarinfo(fileobj=content, arcname=path.lstrip("/")))
                info.mode = 0o755
                tar.addfile(info, content)
    target.flush()


@dataclasses.dataclass
class Blob:
    """One content-addressed piece of the image."""

    media: str
    content: object  # a seekable binary file
    size: int
    digest: str

    @classmethod
    def of_file(cls, media, content):
        content.seek(0)
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        return cls(media, content, content.seek(0, os.SEEK_END), digest)

    @classmethod
    def of_json(cls, media, value):
        return cls.of_file(media, io.BytesIO(json.dumps(value, sort_keys=True).encode()))

    def reference(self, **more):
        return {"mediaType": MEDIA + self.media, "digest": "sha256:" + self.digest, "size": self.size, **more}


def add(tar, name, content, size):
    content.seek(0)
    info = tarfile.TarInfo(name)
    info.size = size
    tar.addfile(info, content)


def write_archive(options, layer):
    config = Blob.of_json("config.v1+json", {
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Env": [PATH], "Entrypoint": options.entrypoint, "Cmd": options.cmd, "User": options.user,
                   "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + layer.digest]},
    })
    manifest = Blob.of_json("manifest.v1+json", {
        "schemaVersion": 2,
        "mediaType": MEDIA + "manifest.v1+json",
        "config": config.reference(),
        "layers": [layer.reference()],
    })
    name = full_name(options.name)
    index = Blob.of_json("index.v1+json", {"schemaVersion": 2, "manifests": [manifest.reference(annotations={
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rsplit(":", 1)[-1],
    })]})
    layout = b'{"imageLayoutVersion":"1.0.0"}'
    with tempfile.NamedTemporaryFile(dir=options.out.parent, delete=False) as part:
        with tarfile.open(fileobj=part, mode="w") as tar:
            add(tar, "oci-layout", io.BytesIO(layout), len(layout))
            add(tar, "index.json", index.content, index.size)
            for blob in (manifest, config, layer):
                add(tar, "blobs/sha256/" + blob.digest, blob.content, blob.size)
    os.chmod(part.name, 0o644)
    os.replace(part.name, options.out)


def main():
    options = arguments()
    options.out = options.out.absolute()
    with tempfile.TemporaryFile(dir=options.out.parent) as file:
        write_layer(file, options)
        write_archive(options, Blob.of_file("layer.v1.tar", file))


if __name__ == "__main__":
    main()
