"""``terra images``: the images that are laid down for machines to be clones of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from terra_core.cli.forms import json_option
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.client.answers import ImageShown

_SHORT = 19


@click.command("images")
@click.option("--pin", metavar="DIGEST", help="Keep an image also when no machine is of it.")
@click.option("--unpin", metavar="DIGEST", help="Keep it no longer than keep_images of controller.toml says.")
@click.option("--remove", metavar="DIGEST", help="Remove what is laid down of an image; its machines keep their disks.")
@json_option("Print JSON, with whole digests.")
@click.pass_context
def command(ctx: click.Context, pin: str | None, unpin: str | None, remove: str | None, json_wanted: bool) -> None:
    """List the images that are laid down for machines to be clones of, or change what is kept.

    Each is laid down once for a layout of disks, when its first machine is provisioned. DIGEST may be cut short, to six digits
    or more.
    """
    import json

    from terra_core.cli.connection import connect
    from terra_core.client.answers import as_json
    from terra_core.errors import ConfigError

    if sum(one is not None for one in (pin, unpin, remove)) > 1:
        raise ConfigError(["--pin, --unpin and --remove: give one of them"])
    client = connect(ctx)
    if remove is not None:
        shown, done = client.remove_image(remove), "is removed"
    elif pin is not None or unpin is not None:
        shown, done = client.pin_image(pin or unpin or "", pinned=pin is not None), "is pinned" if pin else "is not pinned"
    else:
        shown, done = client.images(), ""
    if json_wanted:
        echo(json.dumps([as_json(image) for image in shown], indent=1))
    elif done:
        for image in shown:
            echo(f"{image.image} ({image.layout}) {done}", err=True)
    else:
        _print(shown)


def _print(images: tuple[ImageShown, ...]) -> None:
    from terra_core.cli.tables import print_table

    own = any(image.host for image in images)
    print_table(
        ("IMAGE", "DIGEST", "LAYOUT", "MACHINES", "STATE", "PINNED", "LAST USED", *(("HOST",) if own else ())),
        [
            (
                image.image,
                image.digest[:_SHORT],
                image.layout,
                str(image.machines),
                image.state,
                "yes" if image.pinned else "no",
                image.used[:16].replace("T", " "),
                *((image.host,) if own else ()),
            )
            for image in images
        ],
    )
    for image in images:
        if image.problem:
            echo(f"{image.image} ({image.layout}): {image.problem}", err=True)
