"""Media types of the OCI image specification and of Docker's image manifest, version 2, schema 2."""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})

_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_OCI_LAYERS = (
    _OCI_LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)
_DOCKER_LAYERS = (
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)

LAYERS: dict[str, str] = {
    **dict.fromkeys((*_OCI_LAYERS, *_DOCKER_LAYERS), "plain"),
    **{f"{name}+{kind}": kind for name in _OCI_LAYERS for kind in ("gzip", "zstd")},
    **{f"{name}.{kind}": kind for name in _DOCKER_LAYERS for kind in ("gzip", "zstd")},
}
"""The compression of each layer media type: ``plain``, ``gzip`` or ``zstd``."""

OCI_LAYERS = {"plain": _OCI_LAYER, "gzip": f"{_OCI_LAYER}+gzip", "zstd": f"{_OCI_LAYER}+zstd"}
"""The media type of a layer that everybody may have, by its compression."""
