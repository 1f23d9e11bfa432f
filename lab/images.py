"""The base images in a site: built from packages, imported into its engine, pushed to its registry."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from iso.build import Recipe, build
from lab.engine import Engine
from terra_core.config.session import Session
from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.hookspecs import Builder, BuiltImage, Registry
from terra_core.images import push_built
from terra_core.plugins import Plugins
from terra_core.system.progress import Report, silent

REPOSITORY = "stellarproject"
VERSION = "v11"
RECIPES = Path(__file__).parent.parent / "iso"


@frozen
class BaseImage:
    """A base image as a root tar.

    :param recipe: what it is made of.
    :param tar: the root tar.
    :param components: the root tars of what is laid over it.
    """

    recipe: Recipe
    tar: Path
    components: tuple[Path, ...] = ()

    def reference(self, registry: str) -> ImageReference:
        """Return its name in a registry."""
        return parse_image_reference(f"{registry}/{REPOSITORY}/{self.recipe.name}:{VERSION}")


def build_base_images() -> dict[str, BaseImage]:
    """Build the base images, as far as they are not cached."""
    images = {}
    for name in ("terraos", "pxe"):
        recipe = Recipe.load(RECIPES / name)
        images[name] = BaseImage(recipe, build(recipe), tuple(build(part) for part in recipe.components()))
    return images


def offer(image: BaseImage, engine: Engine, registry: str, *, push: bool, report: Report = silent) -> ImageReference:
    """Import a base image into an engine, and push it, unless that was done with the same image before.

    :param registry: what its name begins with.
    :param push: whether it has to be in the registry.
    """
    reference = image.reference(registry)
    engine.import_image(image.tar, str(reference), image.recipe.changes, components=image.components)
    if push:
        session = Session(tables={"docker": {"engine": engine.host}}, report=report)
        with engine.inside():
            push_to_registry(str(reference), reference, session)
    return reference


def offer_bases(engine: Engine, registry: str) -> ImageReference:
    """Offer the base image of machines to an engine, and that of boot loaders to a registry too; return the latter's name.

    :param registry: what their names begin with.
    """
    images = build_base_images()
    offer(images["terraos"], engine, registry, push=False)
    return offer(images["pxe"], engine, registry, push=True)


def push_to_registry(image: str, reference: ImageReference, session: Session) -> str:
    """Push an image of an engine as Terra does, and give its digest in the registry.

    :param image: its name or id in the engine.
    """
    plugins, built = Plugins.discover(), BuiltImage(reference=reference, id=image, size=0)
    builder, registry = plugins.fill(Builder, {}, source="lab"), plugins.fill(Registry, {}, source="lab")
    return push_built(built, reference, (), builder=builder, registry=registry, session=session)
