"""A server.toml for tests that need one and do not look into it."""

from __future__ import annotations

from terra_core.config.server import Server
from terra_core.config.values import Hostname, Repository, Tag, parse_image_reference

SERVER = Server(hostname=Hostname("a"), version=Tag("6"), os=parse_image_reference("terraos"), repo=Repository("docker.io/b"))
