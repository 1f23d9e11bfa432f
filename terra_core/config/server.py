"""server.toml: the image of a machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from attrs import Factory, frozen

from terra_core.config.structure import Problem
from terra_core.config.values import (
    Address,
    Domain,
    GithubUser,
    Hostname,
    ImageReference,
    InitPath,
    PluginName,
    Repository,
    SshKey,
    Tag,
    Userland,
    parse_image_reference,
)


@frozen(kw_only=True)
class Ssh:
    """``[ssh]``: who may log in as ``terra``.

    :param github: an account whose public keys are fetched when the image is built.
    :param keys: public keys, a line each.
    """

    github: GithubUser | None = None
    keys: tuple[SshKey, ...] = ()


@frozen(kw_only=True)
class ResolvConf:
    """``[resolvconf]``: resolv.conf(5).

    :param nameservers: name servers, in the order they are asked.
    :param search: the search list.
    """

    nameservers: tuple[Address, ...] = ()
    search: tuple[Domain, ...] = ()


@frozen(kw_only=True)
class Server:
    """server.toml.

    :param hostname: the name of the machine, and of its image within ``repo``.
    :param version: the tag of its image.
    :param os: the image it is built from.
    :param repo: where its image goes: to ``repo/hostname:version``.
    :param userland: Dockerfile lines that make the machine what it is, taken as they stand. ADD and COPY see the directory of
        this file, or the one that ``--context`` names.
    :param init: the program that the image starts first.
    :param components: images whose files are laid over the base system, in order; the systemd units that they bring are
        enabled.
    :param ssh: who may log in as ``terra``.
    :param resolvconf: name resolution, as in resolv.conf(5); without servers or a search list, the file stays as it is in the
        base system.
    :param plugins: the plugin of each role, where it is not the default.
    """

    hostname: Hostname
    version: Tag
    os: ImageReference
    repo: Repository
    userland: Userland = Userland("")
    init: InitPath = InitPath("/sbin/init")
    components: tuple[ImageReference, ...] = ()
    ssh: Ssh = Ssh()
    resolvconf: ResolvConf = ResolvConf()
    plugins: Mapping[str, PluginName] = Factory(dict)

    @property
    def image(self) -> ImageReference:
        """The name of the machine's image: ``repo/hostname:version``."""
        return parse_image_reference(f"{self.repo}/{self.hostname}:{self.version}")

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        try:
            _ = self.image
        except ValueError:
            yield Problem("hostname", f'"{self.repo}/{self.hostname}:{self.version}" is no name that a registry takes')
