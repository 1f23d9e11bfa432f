"""The engine and the registry of the lab, together."""

import json
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
import requests

from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from terra_core.errors import ConflictError, TerraError
from terra_core.system.process import run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def root_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a root file system in which a shell runs."""
    tar = tmp_path_factory.mktemp("root") / "root.tar"
    libraries = [word for word in run(["ldd", "/bin/sh"]).text.split() if word.startswith("/")]
    with tarfile.open(tar, "w", dereference=True) as archive:
        for path in ["/bin/sh", *libraries]:
            archive.add(path)
    return tar


def test_an_image_goes_from_a_tar_through_the_engine_to_the_registry(
    network: Network, registry: Registry, data: Path, root_tar: Path, tmp_path: Path
) -> None:
    reference = f"{registry.address}/shell:1"
    with Engine(data, network) as engine, closing(engine.client()) as client:
        assert engine.import_image(root_tar, reference, ['CMD ["/bin/sh"]'])
        assert not engine.import_image(root_tar, reference, ['CMD ["/bin/sh"]']), "the same again is nothing to do"
        output = client.containers.run(reference, ["/bin/sh", "-c", "echo it runs"], network_mode="none", remove=True)
        assert output == b"it runs\n"
        lines = client.images.push(f"{registry.address}/shell", tag="1", stream=True, decode=True)
        assert not [line for line in lines if "error" in line]

    run(network.command(["skopeo", "copy", "--src-tls-verify=false", f"docker://{reference}", f"oci:{tmp_path}/image:1"]))
    index = json.loads((tmp_path / "image" / "index.json").read_text())
    assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == "1"
    with network.inside():
        tags = requests.get(f"http://{registry.address}/v2/shell/tags/list", timeout=10).json()
    assert tags == {"name": "shell", "tags": ["1"]}


def test_images_stay_between_runs_and_changes_make_another(network: Network, data: Path, root_tar: Path) -> None:
    with Engine(data, network) as engine:
        engine.import_image(root_tar, "kept:1", ['CMD ["/bin/sh"]'])
    with Engine(data, network) as engine:
        assert not engine.import_image(root_tar, "kept:1", ['CMD ["/bin/sh"]'])
        assert engine.import_image(root_tar, "kept:1", ['CMD ["/bin/true"]'])


def test_components_are_layers_over_an_image_that_is_imported_once(
    network: Network, data: Path, root_tar: Path, tmp_path: Path
) -> None:
    over = tmp_path / "over.tar"
    with Engine(data, network) as engine, closing(engine.client()) as client:
        for content in ("one", "two"):
            (tmp_path / "file").write_text(f"{content}\n")
            with tarfile.open(over, "w") as archive:
                archive.add(tmp_path / "file", "file")
            assert engine.import_image(root_tar, "over:1", ['CMD ["/bin/sh"]'], components=[over])
            assert not engine.import_image(root_tar, "over:1", ['CMD ["/bin/sh"]'], components=[over])
            said = client.containers.run("over:1", ["-c", "read x < /file; echo $x"], entrypoint="/bin/sh", network_mode="none",
                                         remove=True)  # fmt: skip
            assert said == f"{content}\n".encode()
        assert len(client.images.list("terra.lab/below")) == 1
        assert len(client.images.get("over:1").attrs["RootFS"]["Layers"]) == 2


def test_two_engines_cannot_share_their_data(network: Network, data: Path) -> None:
    with Engine(data, network), pytest.raises(ConflictError, match="another engine uses"), Engine(data, network):
        pass


def test_a_container_that_is_left_running_is_removed_and_reported(network: Network, data: Path, root_tar: Path) -> None:
    def forget(engine: Engine) -> None:
        engine.import_image(root_tar, "kept:1", ['CMD ["/bin/sh"]'])
        with closing(engine.client()) as client:
            client.containers.run("kept:1", ["/bin/sh"], name="forgotten", network_mode="none", detach=True, tty=True)

    with pytest.raises(TerraError, match=r"containers were left in the engine.*forgotten"), Engine(data, network) as engine:
        forget(engine)
    with Engine(data, network) as engine, closing(engine.client()) as client:
        assert client.containers.list(all=True) == []
