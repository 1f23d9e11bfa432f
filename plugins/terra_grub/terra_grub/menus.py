"""The menus that GRUB reads (grub(7), "Shell-like scripting"): Terra's own text, and values without special characters."""

from __future__ import annotations

import re

from terra_core.config.kernel_line import join_arguments
from terra_core.config.values import shown
from terra_core.errors import TerraError
from terra_core.hookspecs import LocalBoot
from terra_grub.core import drivers_of
from terra_grub.environment import KEPT, ONCE, PLACE, TRIED
from terra_grub.settings import Settings

MENU = "boot/grub/grub.cfg"
"""The path of the menu in the machine's root."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SUBVOLUME = re.compile(r"(?:[A-Za-z0-9@_][A-Za-z0-9@._-]{0,63}(?:/(?!\Z)|\Z)){1,8}")
_NAME = r"[A-Za-z0-9_+~][A-Za-z0-9.+~_-]*"
_PATH = re.compile(rf"(?:(?:usr/)?boot/(?:{_NAME}/)*|(?:usr/)?lib/modules/{_NAME}/)?{_NAME}")
_SPEED = 115200

_START = """\
# Written by Terra: finds the menu on the file system of the machine's root.
{choice}search --no-floppy --fs-uuid --set=root {filesystem}
set found=
{menus}if [ -z "$found" ]; then
  echo "Terra: the installation of {hostname} on this disk is not finished: run terra-install again."
  sleep 30
  reboot
fi
"""

_ONE = """\
if [ -f "{menu}" ]; then
  set found=yes
  set prefix="($root){directory}"
  configfile "{menu}"
fi
"""

_CHOICE = """\
# What this disk starts is on its own EFI system partition. A version on trial is taken out of there, and started only when the
# disk has it no more: whatever happens then, the next start is of the version that is kept.
set terra_try=
set {kept}=
set {once}=
set {tried}=
set place=
insmod regexp
if regexp --set=1:disk '^.([^,)]+)' "$cmdpath"; then
  for part in gpt1 gpt2 gpt3; do
    if [ -z "$place" -a -f "($disk,$part)/{environment}" ]; then
      set place="($disk,$part)/{environment}"
    fi
  done
fi
if [ -n "$place" ]; then
  load_env --file "$place" {kept} {once} {tried}
  if [ -n "${once}" ]; then
    set wanted="${once}"
    set {tried}="${once}"
    set {once}=
    save_env --file "$place" {once} {tried}
    set {once}=unread
    set {tried}=unread
    load_env --file "$place" {once} {tried}
    if [ -z "${once}" -a "${tried}" = "$wanted" ]; then
      set terra_try="$wanted"
    else
      echo "Terra: this disk cannot be written: $wanted is not tried."
    fi
  fi
fi
"""

_ANY = """\
for terra_version in "$terra_try" "${kept}" "{root}"; do
  if [ -n "$terra_version" -a -f "/$terra_version/{path}" ]; then
    set found=yes
    export terra_version
    export terra_try
    set prefix="($root)/$terra_version{directory}"
    configfile "/$terra_version/{path}"
  fi
done
for menu in /*/{path}; do
  if regexp --set=1:terra_version '^/([A-Za-z0-9][A-Za-z0-9._-]*)/{path}$' "$menu"; then
    set terra_try=
    set found=yes
    export terra_version
    export terra_try
    set prefix="($root)/$terra_version{directory}"
    configfile "$menu"
  fi
done
"""
"""What is left when a menu returns, as after Escape, is the next one."""

_MENU = """\
# Written by Terra when everything else was on the disks.
set default="{default}"
{chosen}set timeout={timeout}
{drivers}insmod regexp
{terminal}
# A kernel that the machine has installed since is what its links name; what came with the image is what is left otherwise.
# After either comes the archive that Terra has made with the steps by which the machine finds its root.
function terra_linux {{
  set steps=
{steps}{trial}  for links in "$1" "$1/boot"; do
    if [ -f "$links/vmlinuz" -a -f "$links/initrd.img" ]; then
      if linux "$links/vmlinuz" {found}{version} $3 {line}{words}; then
        if initrd "$links/initrd.img" $steps; then
          return
        fi
      fi
    fi
  done
  if linux "$1/{kernel}" {found}{version} $3 {line}{words}; then
    if initrd "$1/{initrd}" $steps; then
      return
    fi
  fi
{failed}}}

menuentry "Terra: {hostname}" --id "{entry}" {{
  terra_linux "{root}" "{subvolume}"
}}

menuentry "Terra: {hostname}, for repairs" --id repair {{
  terra_linux "{root}" "{subvolume}" single
}}
"""

_STEPS = """\
  if [ -f "$1/{steps}" ]; then
    set steps="$1/{steps}"
  fi
"""

_CHOSEN = """\
if [ -n "$terra_version" -a "$terra_version" != "{subvolume}" ]; then
  set default="Terra: {hostname}, version $terra_version"
fi
"""

_TRIAL = """\
  set words=
  if [ -n "$terra_try" -a "$2" = "$terra_try" ]; then
    set words="panic=10 softlockup_panic=1 terra.try=$2"
  fi
"""

_FAILED = """\
  if [ -n "$words" ]; then
    echo "Terra: $2 cannot be started; the version that is kept is started in 10 seconds."
    sleep 10
    reboot
  fi
"""
"""A version on trial that has no kernel is not waited for."""

_VERSIONS = """
# Every further subvolume that has a kernel, such as a snapshot made before an upgrade.
for place in /*; do
  if [ -f "$place/{kernel}" -o -f "$place/vmlinuz" -o -f "$place/boot/vmlinuz" ]; then
    if regexp --set=1:version '^/([A-Za-z0-9][A-Za-z0-9._-]*)$' "$place"; then
      if [ "$version" != "{subvolume}" ]; then
        menuentry "Terra: {hostname}, version $version" --id "$version" "$version" {{
          terra_linux "/$2" "$2"
        }}
      fi
    fi
  fi
done
"""

_WHOLE = "terra"
"""The entry of a machine whose root is all of its file system, which holds no other version of it."""


def start_menu(boot: LocalBoot) -> str:
    """Return what GRUB runs first, from an EFI system partition or from its own core image.

    Where the root is one of several at the top of its file system, that is the choice of a version by what the disk says.

    :raises TerraError: for a value with special characters.
    """
    root = _root(boot)
    several = bool(boot.root) and "/" not in boot.root
    names = {"kept": KEPT, "once": ONCE, "tried": TRIED, "environment": PLACE}
    if several:
        menus = _ANY.format(root=boot.root, path=MENU, directory=f"/{MENU}".rpartition("/")[0], **names)
    else:
        menus = _ONE.format(menu=f"{root}/{MENU}", directory=f"{root}/{MENU}".rpartition("/")[0])
    return _START.format(
        choice=_CHOICE.format(**names) if several else "",
        filesystem=_checked(boot.filesystem, _UUID, "the UUID of a file system"),
        hostname=boot.hostname,
        menus=menus,
    )


def boot_menu(boot: LocalBoot, settings: Settings) -> str:
    """Return the menu itself, with an entry for each subvolume that holds a system.

    :raises TerraError: for a value with special characters, or a kernel line that is too long.
    """
    root = _root(boot)
    found = f"terra.uuid={_checked(boot.filesystem, _UUID, 'the UUID of a file system')}"
    entry = boot.root or _WHOLE
    arguments = [word for word in boot.kernel_arguments if word != found]  # the filesystem plugin may give the same argument
    template = _MENU + _VERSIONS if boot.root else _MENU
    return template.format(
        timeout=settings.timeout,
        drivers="".join(f"insmod {name}\n" for name in drivers_of(boot.type)),
        terminal=_terminal(settings),
        found=found,
        line=join_arguments([*arguments, *settings.kernel_arguments]),
        hostname=boot.hostname,
        root=root,
        subvolume=boot.root,
        entry=entry,
        chosen=_CHOSEN.format(subvolume=boot.root, hostname=boot.hostname) if boot.root else "",
        trial=_TRIAL if boot.root else "",
        failed=_FAILED if boot.root else "",
        words=" $words" if boot.root else "",
        default="0" if entry[0].isdigit() else entry,  # GRUB takes a name that begins with a digit for the number of an entry
        version=" version=$2" if boot.root else "",
        kernel=_checked(boot.kernel, _PATH, "the path of a kernel"),
        initrd=_checked(boot.initrd, _PATH, "the path of an initial RAM disk"),
        steps=_STEPS.format(steps=_checked(boot.steps, _PATH, "the path of an archive of boot steps")) if boot.steps else "",
    )


def _root(boot: LocalBoot) -> str:
    """Return the path of the machine's root in its file system; an empty string when it is all of it."""
    return f"/{_checked(boot.root, _SUBVOLUME, 'a subvolume')}" if boot.root else ""


def _terminal(settings: Settings) -> str:
    if settings.serial < 0:
        return "terminal_input console\nterminal_output console\n"
    return (
        f"if serial --unit={settings.serial} --speed={_SPEED}; then\n"
        "  terminal_input console serial\n  terminal_output console serial\nfi\n"
    )


def _checked(text: str, pattern: re.Pattern[str], what: str) -> str:
    if not pattern.fullmatch(text):
        raise TerraError(f"{shown(text)} is not {what}, and cannot stand in a boot menu")
    return text
