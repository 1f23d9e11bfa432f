"""``ob config``: an example."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo

EXAMPLE = """\
# A container. Every key is here; those with a "#" in front are optional, with their defaults where they have one.

# Its name.
id = "example"

# Its image; pulled from its registry if the engine has it not.
image = "docker.io/stellarproject/example:6"

# The user and group that it runs as. Default: those of the image.
uid = 0
gid = 0

# The program and its arguments. Default: those of the image.
# args = ["/sbin/init"]

# Environment variables.
env = ["TZ=UTC"]

# Give it a terminal.
pty = false

# Let it do what root on the host can do: an image whose init is systemd needs it.
privileged = false

# Let nothing be written to its own file system.
readonly = false

# What it may do beyond the usual: capabilities(7).
capabilities = ["CAP_NET_ADMIN"]

# What of the image is not to be seen.
masked_paths = ["/etc/netplan"]

# Directories and files of the host's; "tmpfs" is fresh memory.
[[mounts]]
  type = "bind"
  source = "/srv/example"
  destination = "/srv"
  options = ["rbind", "rw"]

[[mounts]]
  type = "tmpfs"
  destination = "/scratch"
  options = ["size=64m", "mode=1777"]

# Files of its own, read-only: by their text, or by a text file that ob reads where it runs; 512 KiB at most.
[configs]
  [configs.motd]
    path = "/etc/motd"
    content = "Welcome.\\n"
    # source = "/etc/motd"
    mode = "0644"
    uid = 0
    gid = 0

# Ports on which it serves; a check is made from within its own network.
[services]
  [services.ssh]
    port = 22
    protocol = "tcp"
    labels = ["admin"]
    [services.ssh.check]
      type = "tcp"             # or "http", with path = "/"
      interval = 10            # seconds
      timeout = 3              # seconds

# What it may use.
[resources]
  cpu = 1.0                    # processors
  memory = 128                 # MB, or "2GiB"
  score = 0                    # how readily it is ended when memory runs out, from -1000 to 1000
  no_file = 1024               # open files per process

# Graphics processors, by the engine's NVIDIA support.
# [gpus]
#   devices = ["0"]            # all of them when left out
#   capabilities = ["compute", "utility"]

# What it is connected to: the first is eth0 in it, the second eth1.
[[networks]]
  type = "macvlan"             # host, macvlan, bridge, ipvlan
  name = "ob0"
  # master = "eth0"            # of macvlan and ipvlan; the interface of the default route when left out
  # mode = "bridge"            # of macvlan: bridge, private, vepa, passthru; of ipvlan: l2, l3, l3s
  # mac = "02:00:00:00:00:01"  # of macvlan and bridge
  # mtu = 1500
  [networks.ipam]
    type = "dhcp"              # dhcp, host-local, static

[[networks]]
  type = "bridge"
  name = "ob1"                 # the bridge's name, too
  masquerade = false           # true: its traffic leaves the host under the host's address
  [networks.ipam]
    type = "host-local"
    subnet = "10.88.0.0/24"
    range_start = "10.88.0.10"
    range_end = "10.88.0.99"
    # gateway = "10.88.0.1"
    # of static: addresses = ["10.88.0.20/24"]
"""


@click.command("config")
def command() -> None:
    """Print a complete, commented vhost.toml."""
    echo(EXAMPLE, nl=False)
