"""``make demo``: from two TOML files to a login prompt on a machine without a disk."""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lab.images import build_base_images, offer_bases
from lab.machine import Machine
from lab.network import CONTROLLER
from lab.site import Site
from terra_core.client.controller import ControllerClient
from terra_core.client.waiting import wait_until_booted
from terra_core.errors import InterruptedWork, TerraError
from terra_core.system.process import Argument, run
from terra_core.system.signals import interruptible
from terra_core.system.undo import Undo

_HERE = Path(__file__).parent.parent
_BUILD = _HERE / "build"
_QUESTIONS = (
    "hostname",
    "findmnt --real --noheadings --output TARGET,SOURCE,FSTYPE",
    "cat /etc/resolv.conf",
    "systemctl is-system-running --wait",
    "uname -r",
)


class Demo:
    """The demonstration, a step after the other.

    :param resources: what it puts up.
    """

    def __init__(self, resources: ExitStack) -> None:
        self._resources = resources
        self._times: list[tuple[str, float]] = []

    def run(self) -> tuple[Site, str, Path]:
        """Run every step; return the site, the machine's address and the key that opens it."""
        with self._step("build the base images from packages (cached in build/images)"):
            build_base_images()
        with self._step("start a network, an engine, a registry and a controller"):
            site = self._resources.enter_context(Site(_BUILD, label="demo"))
        work = site.directory / "demo"
        work.mkdir(exist_ok=True)
        registry = site.registry.address
        with self._step("offer the base images to the engine and the registry"):
            pxe = offer_bases(site.engine, registry)
        key = self._key(work)
        server = self._server(work, key, f"{registry}/stellarproject")
        self._terra(site, ["create", "--push", "--context", _HERE / "examples", server])
        self._terra(site, ["pxe", str(pxe)])
        node = self._terra(site, ["provision", _HERE / "examples/node.toml"])
        _show(node)
        _show(self._terra(site, ["list"]))
        mac = json.loads(node)["mac"]
        with self._step("switch on a machine without a disk, and wait until it lets us in"):
            machine = Machine(site.network, mac, work / "serial.log")
            self._resources.enter_context(machine)
            address = machine.wait_for_address(site.leases, seconds=300)
            machine.wait_for_ssh(address, "terra", key, seconds=600)
        with self._step("wait until the machine says itself that it has booted"), site.network.inside():
            client = ControllerClient(CONTROLLER, token=site.environment()["TERRA_TOKEN"])
            said = wait_until_booted(client, json.loads(node)["hostname"], seconds=600)
        _show(f"it {said.text}")
        for question in _QUESTIONS:
            _tell(f"terra@{address} $ {question}")
            _show(machine.ssh(question, accept=range(256), timeout=120).text)
        return site, address, key

    def summary(self) -> None:
        """Print what each step took."""
        _tell("what it took:")
        for name, seconds in self._times:
            _show(f"{seconds:7.1f} s  {name}")
        _show(f"{sum(seconds for _, seconds in self._times):7.1f} s  in all")

    def _terra(self, site: Site, words: Sequence[Argument]) -> str:
        shown = " ".join(str(word).removeprefix(f"{_HERE}/") for word in words)
        with self._step(f"terra {shown}"):
            return site.command(words, shown=True).text

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        _tell(name)
        began = time.monotonic()
        yield
        self._times.append((name, time.monotonic() - began))

    def _key(self, work: Path) -> Path:
        key = work / "key"
        for file in (key, key.with_suffix(".pub")):
            file.unlink(missing_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "terra-demo", "-f", key])
        return key

    def _server(self, work: Path, key: Path, repository: str) -> Path:
        """examples/server.toml with a key of this run's own, so that the demonstration can log in."""
        text = (_HERE / "examples/server.toml").read_text()
        public = key.with_suffix(".pub").read_text().strip()
        server = work / "server.toml"
        server.write_text(f'{text}\n[ssh]\n  keys = ["{public}"]\n')
        if repository not in text:
            raise TerraError(f"examples/server.toml does not name {repository}, which this site's registry serves")
        return server


def main() -> int:
    """Run the demonstration; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it up until Ctrl-C, and say how to reach it")
    keep = parser.parse_args().keep
    try:
        with interruptible(), Undo() as resources:
            demo = Demo(resources)
            site, address, key = demo.run()
            demo.summary()
            if keep:
                _wait_for_goodbye(site, address, key)
            _tell("taking everything down again")
    except TerraError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    _tell("done")
    return 0


def _wait_for_goodbye(site: Site, address: str, key: Path) -> None:
    inside = " ".join(site.network.command([]))
    _tell("everything stays up until you press Ctrl-C here; in another terminal:")
    _show(f"{inside} ssh -i {key} -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no terra@{address}")
    settings = " ".join(f"{name}={value}" for name, value in site.environment().items())
    _show(f"{settings} {inside} {_HERE}/.venv/bin/terra list")
    with suppress(InterruptedWork):
        threading.Event().wait()


def _tell(text: str) -> None:
    print(f"\n\033[1m==> {text}\033[0m" if sys.stdout.isatty() else f"\n==> {text}", flush=True)


def _show(text: str) -> None:
    print("\n".join(f"    {line}" for line in text.rstrip().splitlines()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
