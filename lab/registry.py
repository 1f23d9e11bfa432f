"""A registry for container images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from iso.daemons import start, wait_ready
from lab.network import CONTROLLER, Network
from lab.place import Place, hold
from terra_core.errors import ConflictError
from terra_core.system.process import run
from terra_core.system.undo import Undo

_START = 30.0


class Registry:
    """Debian's docker-registry in a network; it accepts deletions.

    :param network: where it serves.
    :param storage: the directory that keeps its images; made when it is not there, and left as it is at the end.
    :param host: the address that it binds.
    :param port: the TCP port.
    :param tls: its ``http.tls``, as Distribution's configuration has it; plain HTTP when left out.
    :param auth: its ``auth``; everybody may do everything when left out.
    """

    def __init__(
        self,
        network: Network,
        storage: Path,
        *,
        host: str = CONTROLLER,
        port: int = 5000,
        tls: Mapping[str, object] | None = None,
        auth: Mapping[str, object] | None = None,
    ) -> None:
        self._network = network
        self._storage = storage.resolve()
        self._host = host
        self._port = port
        self._tls = tls
        self._auth = auth
        self._resources = Undo()

    @property
    def address(self) -> str:
        """The beginning of an image reference: ``10.0.10.3:5000``."""
        return f"{self._host}:{self._port}"

    @property
    def storage(self) -> Path:
        """The directory that keeps its images."""
        return self._storage

    @property
    def log(self) -> Path:
        """The file of its output."""
        return self._storage / "registry.log"

    def __enter__(self) -> Self:
        self._storage.mkdir(parents=True, exist_ok=True)
        with Undo() as resources:
            place = resources.enter_context(Place("registry"))
            if not hold(resources, self._storage / ".lock"):
                raise ConflictError(f"another registry of a lab keeps its images in {self._storage}")
            # JSON is YAML.
            configuration = place.path / "config.yml"
            configuration.write_text(json.dumps(self._configuration()))
            daemon = start(self._network.command(["docker-registry", "serve", configuration]), log=self.log)
            resources.callback(daemon.stop)
            wait_ready(daemon, self._answers, seconds=_START, what=f"the registry to answer on {self.address}")
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def push(self, layout: Path, name: str) -> str:
        """Push the image of a layout by plain HTTP; return its reference.

        :param layout: a directory, as the OCI image layout specification has it.
        :param name: of the repository, below that of all images of tests.
        """
        reference = f"{self.address}/stellarproject/{name}:6"
        words = [
            "skopeo",
            "--insecure-policy",
            "copy",
            "--dest-tls-verify=false",
            f"oci:{layout}:latest",
            f"docker://{reference}",
        ]
        run(self._network.command(words), timeout=120)
        return reference

    def _answers(self) -> bool:
        with self._network.connect(self._host, self._port, timeout=2) as connection:
            if self._tls:
                return True
            connection.sendall(f"GET /v2/ HTTP/1.0\r\nHost: {self.address}\r\n\r\n".encode())
            return connection.recv(1024).split()[1:2] == [b"401" if self._auth else b"200"]

    def _configuration(self) -> dict[str, object]:
        http: dict[str, object] = {"addr": self.address, "secret": "one instance shares it with nobody"}
        return {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {"filesystem": {"rootdirectory": str(self._storage / "images")}, "delete": {"enabled": True}},
            "http": http | ({"tls": self._tls} if self._tls else {}),
            **({"auth": self._auth} if self._auth else {}),
        }
