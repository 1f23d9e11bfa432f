"""``terra unpack`` as a user runs it, on images that others' tools have written."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd

from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from terra_core.oci import Layout
from terra_core.system.process import run
from terra_core.system.waiting import wait_until
from terra_core.testing.tiny import write_tiny_root
from tests.integration.image.trees import look
from tests.unit.oci.making import Item, LayoutMaker, file, folder, hardlink, sha256, symlink, tar, whiteout

TERRA = Path(sys.executable).with_name("terra")
NAME = "terra.test/example:6"


def unpack(*words: str | Path, code: int = 0) -> tuple[str, str]:
    """Run the command; return standard output and standard error."""
    done = run([TERRA, "unpack", *words], accept=(code,))
    assert "Traceback" not in done.stderr.decode()
    return done.text, done.stderr.decode()


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([tar(folder(b"d", mode=0o750), file(b"d/old"), file(b"f", b"text", uid=7)), tar(whiteout(b"d/.wh.old"))], "6")
    return maker.path


def test_a_layout_and_what_it_came_to(layout: Path, tmp_path: Path) -> None:
    target = tmp_path / "tree"
    said, told = unpack("--json", f"oci:{layout}:6", target)
    result = json.loads(said)
    index = json.loads((layout / "index.json").read_text())
    assert result["digest"] == index["manifests"][0]["digest"]
    assert (result["layers"], result["bytes"], result["entries"]) == (2, 8, 4)
    assert 0 < result["seconds"] < 60
    assert set(look(target)) == {b"", b"d", b"f"}
    assert (target / "f").stat().st_uid == 7
    assert f"into {target}: 2 layers, 4 entries" in told
    assert "apply: 2 layers" in told


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([tar(file(b"app", pax={b"SCHILY.xattr.com.apple.provenance": b"1"}))])
    said, told = unpack("--json", f"oci:{maker.path}", tmp_path / "tree")
    what = "the extended attribute com.apple.provenance of app: Linux has no attributes of that class"
    assert json.loads(said)["left_out"] == [what]
    assert f"left out: {what}\n" in told


def test_what_docker_save_wrote(network: Network, tmp_path: Path) -> None:
    root, saved = tmp_path / "root.tar", tmp_path / "saved.tar"
    write_tiny_root(root)
    (tmp_path / "context").mkdir()
    step = "RUN mkdir /made && echo x > /made/file && rm -f /etc/passwd"
    (tmp_path / "context" / "Dockerfile").write_text(f"FROM {NAME}\n{step}\n")
    with Engine(tmp_path / "engine", network) as engine:
        engine.import_image(root, NAME, ['CMD ["/bin/sh"]'])
        docker = ["docker", "--host", engine.host]
        run([*docker, "build", "--network", "none", "--tag", "terra.test/second:1", tmp_path / "context"], timeout=300)
        run([*docker, "save", "--output", saved, NAME, "terra.test/second:1"])
        container = run([*docker, "create", "terra.test/second:1"]).text.strip()
        run([*docker, "export", "--output", tmp_path / "exported.tar", container])
        run([*docker, "rm", container])
    _, told = unpack(f"docker-archive:{saved}", tmp_path / "x", code=1)
    assert "there are several images" in told
    assert "name one of terra.test/example:6, terra.test/second:1" in told
    unpack(f"docker-archive:{saved}:terra.test/second:1", tmp_path / "tree")
    (tmp_path / "expected").mkdir()
    run(["tar", "--extract", "--file", tmp_path / "exported.tar", "--directory", tmp_path / "expected", "--numeric-owner"])
    ours, theirs = look(tmp_path / "tree"), look(tmp_path / "expected")
    of_the_engine = {b".dockerenv", b"dev/console", b"etc/hostname", b"etc/hosts", b"etc/resolv.conf", b"etc/mtab"}
    assert (tmp_path / "tree" / "made" / "file").read_text() == "x\n"
    for path in ours.keys() & theirs.keys() - of_the_engine:
        mine, other = ours[path], theirs[path]
        assert (mine.kind, mine.mode, mine.owner, mine.content, mine.size) == (
            other.kind, other.mode, other.owner, other.content, other.size,
        ), path  # fmt: skip
    assert ours.keys() - theirs.keys() <= of_the_engine


@pytest.mark.parametrize("kind", ["docker-archive", "oci"])
def test_what_skopeo_wrote(layout: Path, kind: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    run(["skopeo", "--insecure-policy", "copy", f"oci:{layout}:6", f"{kind}:{copy}:terra.test/it:6"])
    unpack(f"oci:{layout}", tmp_path / "one")
    unpack(f"{kind}:{copy}:terra.test/it:6", tmp_path / "two")
    assert look(tmp_path / "one") == look(tmp_path / "two") | {b"": look(tmp_path / "one")[b""]}


def archive(path: Path, *layers: bytes, **changes: object) -> Path:
    """Write a docker archive, right or wrong."""
    config = json.dumps({
        "architecture": changes.get("architecture", "amd64"), "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
    }).encode()  # fmt: skip
    name = str(changes.get("config", sha256(config).removeprefix("sha256:") + ".json"))
    names = [f"{position}/layer.tar" for position in range(len(layers))]
    manifest = json.dumps([{"Config": name, "RepoTags": [NAME], "Layers": changes.get("names", names)}]).encode()
    held = changes.get("held", [file(name.encode(), layer) for name, layer in zip(names, layers, strict=True)])
    assert isinstance(held, list)
    documents = [file(name.encode(), config), file(b"manifest.json", bytes(changes.get("manifest", manifest)))]  # type: ignore[call-overload]  # what a test gives
    path.write_bytes(tar(*held, *documents))
    return path


def written(path: Path, content: bytes) -> Path:
    """Write a file with any content; return its path."""
    path.write_bytes(content)
    return path


LAYER = tar(file(b"f", b"content"))
UPPER = tar(file(b"g", b"upper"))


def test_layers_that_are_links_to_each_other(tmp_path: Path) -> None:
    held = [file(b"a/layer.tar", LAYER), symlink(b"b/layer.tar", b"../a/layer.tar")]
    saved = archive(tmp_path / "saved.tar", LAYER, LAYER, names=["a/layer.tar", "b/layer.tar"], held=held)
    unpack(f"docker-archive:{saved}", tmp_path / "tree")
    assert (tmp_path / "tree" / "f").read_bytes() == b"content"


def hexadecimal(content: bytes) -> str:
    """Return the hash as tools put it into names."""
    return sha256(content).removeprefix("sha256:")


DIFF_IDS = [sha256(LAYER), sha256(UPPER), sha256(LAYER)]
CONFIG = json.dumps(
    {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": DIFF_IDS}}
).encode()
PACKED = {LAYER: gzip.compress(LAYER, mtime=0), UPPER: zstd.compress(UPPER)}


def crane(layer: bytes) -> tuple[str, bytes]:
    """Return the name and content of a layer as crane, ko, apko and kaniko write it."""
    return f"{hexadecimal(PACKED[layer])}.tar.gz", PACKED[layer]


ORDER = (LAYER, UPPER, LAYER)
CRANE = [crane(layer) for layer in ORDER]
HELD = {name: file(name.encode(), content) for name, content in CRANE}
TOOLS: dict[str, tuple[str, list[str], list[Item]]] = {
    "crane and kaniko": (sha256(CONFIG), [name for name, _ in CRANE], list(HELD.values())),
    "jib": ("config.json", [name for name, _ in CRANE], list(HELD.values())),
    "rules_oci": (
        f"blobs/sha256/{hexadecimal(CONFIG)}",
        [f"blobs/sha256/{name}" for name, _ in CRANE],
        [file(f"blobs/sha256/{name}".encode(), content) for name, content in dict(CRANE).items()],
    ),
    "skopeo before 1": (
        f"{hexadecimal(CONFIG)}.json",
        [f"{hexadecimal(layer)}.tar" for layer in ORDER],
        [
            *(file(f"{hexadecimal(layer)}.tar".encode(), layer) for layer in (LAYER, UPPER)),
            symlink(b"0123/layer.tar", f"../{hexadecimal(LAYER)}.tar".encode()),
        ],
    ),
    "nix": (
        f"{hexadecimal(CONFIG)}.json",
        ["aaaa/layer.tar", "bbbb/layer.tar", "aaaa/layer.tar"],
        [file(b"aaaa/layer.tar", LAYER), file(b"bbbb/layer.tar", UPPER)],
    ),
    "archived again": (
        f"{hexadecimal(CONFIG)}.json",
        ["a/layer.tar", "b/layer.tar", "c/layer.tar"],
        [
            file(b"./a/layer.tar", LAYER),
            file(b"./b/layer.tar", UPPER),
            hardlink(b"./d/layer.tar", b"./a/layer.tar"),
            symlink(b"./c/layer.tar", b"../d/layer.tar"),
        ],
    ),
    "a later file in the place of an earlier link": (
        "./config",
        ["a", "b", "c"],
        [hardlink(b"a", b"b"), file(b"a", LAYER), file(b"b", UPPER), symlink(b"c", b"a")],
    ),
}


@pytest.mark.parametrize("whole", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstd"])
@pytest.mark.parametrize("tool", TOOLS)
def test_what_other_tools_wrote(tool: str, whole: Callable[[bytes], bytes], tmp_path: Path) -> None:
    config, layers, held = TOOLS[tool]
    manifest = json.dumps([{"Config": config, "RepoTags": None, "Layers": layers}]).encode()
    saved = tmp_path / "saved.tar"
    saved.write_bytes(whole(tar(file(config.encode(), CONFIG), *held, file(b"manifest.json", manifest))))
    said, _ = unpack("--json", f"docker-archive:{saved}", tmp_path / "tree")
    assert json.loads(said)["digest"] == sha256(CONFIG)
    assert (tmp_path / "tree" / "f").read_bytes() == b"content"
    assert (tmp_path / "tree" / "g").read_bytes() == b"upper"


def test_a_configuration_that_says_nothing_of_a_machine(tmp_path: Path) -> None:
    config = json.dumps({"rootfs": {"diff_ids": [sha256(LAYER)]}}).encode()
    manifest = json.dumps([{"Config": "c", "Layers": ["l"]}]).encode()
    saved = tmp_path / "saved.tar"
    saved.write_bytes(tar(file(b"c", config), file(b"l", LAYER), file(b"manifest.json", manifest)))
    unpack(f"docker-archive:{saved}", tmp_path / "tree")
    assert (tmp_path / "tree" / "f").read_bytes() == b"content"


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_an_archive_that_is_no_file(kind: str, tmp_path: Path) -> None:
    if kind == "fifo":
        os.mkfifo(tmp_path / "saved.tar")
    else:
        (tmp_path / "saved.tar").symlink_to("/dev/zero")
    _, told = unpack(f"docker-archive:{tmp_path / 'saved.tar'}", tmp_path / "tree", code=1)
    assert "is no regular file" in told


WRONG: dict[str, tuple[Callable[[Path], Path], str]] = {
    "another layer": (
        lambda path: archive(path, LAYER, held=[file(b"0/layer.tar", tar(file(b"g", b"content")))]), "another digest",
    ),
    "a layer that is missing": (lambda path: archive(path, LAYER, held=[]), "0/layer.tar is missing in it"),
    "a layer that is a loop": (
        lambda path: archive(path, LAYER, held=[symlink(b"0/layer.tar", b"layer.tar")]), "0/layer.tar is missing in it",
    ),
    "a layer of the host": (
        lambda path: archive(path, LAYER, held=[symlink(b"0/layer.tar", b"/etc/passwd")]), "0/layer.tar is missing in it",
    ),
    "a compressed layer": (
        lambda path: archive(path, LAYER, held=[file(b"0/layer.tar", gzip.compress(tar()))]), "uncompressed it has the digest",
    ),
    "a layer with holes": (
        lambda path: archive(path, LAYER, held=[file(b"0/layer.tar", b"", pax={b"GNU.sparse.map": b"",
                                                                               b"GNU.sparse.size": b"1024"})]),
        "is stored with holes",
    ),
    "hard links in a circle": (
        lambda path: archive(path, LAYER, held=[hardlink(b"0/layer.tar", b"a"), hardlink(b"a", b"0/layer.tar")]),
        "0/layer.tar is missing in it",
    ),
    "a hard link to the host": (
        lambda path: archive(path, LAYER, held=[hardlink(b"0/layer.tar", b"/etc/passwd")]), "0/layer.tar is missing in it",
    ),
    "another configuration": (lambda path: archive(path, LAYER, config=f"{'0' * 64}.json"), "another digest"),
    "another configuration of crane's": (lambda path: archive(path, LAYER, config=f"sha256:{'0' * 64}"), "another digest"),
    "another architecture": (lambda path: archive(path, LAYER, architecture="s390x"), "not built for linux/"),
    "too few layers": (lambda path: archive(path, LAYER, names=[]), "0 layers, but 1 diff_ids"),
    "no list": (lambda path: archive(path, LAYER, manifest=b"{}"), "expected a list at the top"),
    "no JSON": (lambda path: archive(path, LAYER, manifest=b"\xff"), "not valid JSON"),
    "an OCI archive": (
        lambda path: written(path, tar(file(b"oci-layout", b"{}"), file(b"index.json", b"{}"))), "name that: oci:DIRECTORY",
    ),
    "no archive": (lambda path: written(path, b"hello" * 1000), "tar"),
    "cut off": (lambda path: written(path, archive(path, LAYER).read_bytes()[:1200]), "cut off"),
    "compressed": (lambda path: written(path, gzip.compress(LAYER)), "manifest.json is missing in it"),
    "compressed and cut off": (lambda path: written(path, gzip.compress(LAYER)[:-5]), "cut off"),
    "compressed by something else": (lambda path: written(path, b"\xfd7zXZ\0" + bytes(512)), "tar"),
    "an entry of the host": (lambda path: archive(path, tar(hardlink(b"in", b"../out"))), "../out"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_an_archive_that_is_wrong_is_said_to_be(case: str, tmp_path: Path) -> None:
    make, message = WRONG[case]
    saved = make(tmp_path / "saved.tar")
    before = set(tmp_path.iterdir())
    _, told = unpack(f"docker-archive:{saved}", tmp_path / "tree", code=1)
    assert message in told
    assert set(tmp_path.iterdir()) == before


def test_what_a_directory_holds_is_not_touched_without_force(layout: Path, tmp_path: Path) -> None:
    target = tmp_path / "tree"
    target.mkdir()
    (target / "mine").write_text("mine")
    _, told = unpack(f"oci:{layout}", target, code=1)
    assert f"{target} is not empty" in told
    assert "--force" in told
    assert set(look(target)) == {b"", b"mine"}
    unpack("--force", f"oci:{layout}", target)
    assert set(look(target)) == {b"", b"mine", b"d", b"f"}


def test_a_failure_leaves_the_directory_as_it_was(tmp_path: Path) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([tar(folder(b".", mode=0o700, mtime=5), folder(b"a"), file(b"a/b"), hardlink(b"in", b"../out"))])
    target = tmp_path / "tree"
    unpack(f"oci:{maker.path}", target, code=1)
    assert not target.exists()
    (target / "lost+found").mkdir(parents=True)
    unpack(f"oci:{maker.path}", target, code=1)
    assert set(look(target)) == {b"", b"lost+found"}
    (target / "mine").touch()
    _, told = unpack("--force", f"oci:{maker.path}", target, code=1)
    assert "holds a part of the image now" in told
    assert (target / "mine").exists()


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([tar(*(file(b"f%d" % number, os.urandom(1 << 20)) for number in range(100)))])
    target = tmp_path / "tree"
    with subprocess.Popen([TERRA, "unpack", f"oci:{maker.path}", target], stderr=subprocess.PIPE) as running:
        wait_until(lambda: target.exists() and any(target.iterdir()), seconds=60, what="it to begin", interval=0.002)
        running.send_signal(signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    assert b"Traceback" not in told
    assert not target.exists()


@pytest.mark.parametrize(
    ("image", "code", "message"),
    [
        ("oci:{here}/nowhere", 1, "no OCI image layout"),
        ("oci:{here}/layout:7", 1, "7: not there"),
        ("docker-archive:{here}/nowhere.tar", 1, "No such file"),
        ("docker-archive:{here}", 1, "docker save"),
        ("docker-archive:{here}/layout/index.json", 1, "docker save"),
        ("-", 2, "expected the name of an image"),
        ("UPPER/case:1", 2, "expected the name of an image"),
        ("file:///etc/passwd", 2, "expected the name of an image"),
        ("a b", 2, "expected the name of an image"),
    ],
)
def test_names_that_lead_nowhere(image: str, code: int, message: str, layout: Path, tmp_path: Path) -> None:
    _, told = unpack("--", image.format(here=tmp_path), tmp_path / "tree", code=code)
    assert message in told
    assert not (tmp_path / "tree").exists()


def test_places_that_are_none(layout: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for place in ("file", "link", "no/such/place"):
        _, told = unpack(f"oci:{layout}", tmp_path / place, code=1)
        assert str(tmp_path / place) in told
    assert list((tmp_path / "real").iterdir()) == []


def inside(network: Network, *words: str | Path, code: int = 0) -> tuple[str, str]:
    """Run the command in a network; return standard output and standard error."""
    done = run(network.command([TERRA, "unpack", *words]), accept=(code,))
    assert "Traceback" not in done.stderr.decode()
    return done.text, done.stderr.decode()


@pytest.fixture
def pushed(network: Network, registry: Registry, layout: Path) -> str:
    """Push the image of the layout to the registry; return its name."""
    name = f"{registry.address}/unpacked:6"
    copy = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false"]
    run(network.command([*copy, f"oci:{layout}:6", f"docker://{name}"]))
    return name


def test_what_a_registry_has(network: Network, layout: Path, pushed: str, tmp_path: Path) -> None:
    _, told = inside(network, pushed, tmp_path / "tree", code=1)
    assert "insecure" in told, "plain HTTP only where it is asked for"
    assert not (tmp_path / "tree").exists()
    said, told = inside(network, "--http", "--json", pushed, tmp_path / "tree")
    unpack(f"oci:{layout}", tmp_path / "other")
    ours, theirs = look(tmp_path / "tree"), look(tmp_path / "other")
    del ours[b""], theirs[b""]
    assert ours == theirs
    assert json.loads(said)["digest"] == json.loads((layout / "index.json").read_text())["manifests"][0]["digest"]
    assert "pull: pulled" in told
    _, told = inside(network, "--http", f"{pushed}7", tmp_path / "tree7", code=1)
    assert f"pulling {pushed}7" in told


def test_an_image_that_nobody_trusted_has_signed(network: Network, pushed: str, layout: Path, tmp_path: Path) -> None:
    key = tmp_path / "cosign.pub"
    key.write_text("no key")
    _, told = inside(network, "--http", "--key", key, pushed, tmp_path / "tree", code=2)
    assert "--key: expected a public key" in told
    run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", tmp_path / "private"])
    run(["openssl", "pkey", "-in", tmp_path / "private", "-pubout", "-out", key])
    _, told = inside(network, "--http", "--key", key, pushed, tmp_path / "tree", code=1)
    assert "not signed" in told or "no signature" in told
    assert not (tmp_path / "tree").exists()
    _, told = unpack("--key", key, f"oci:{layout}", tmp_path / "tree", code=2)
    assert "signatures are kept in registries" in told


def test_a_file_says_who_fetches_the_image_and_whose_it_has_to_be(
    network: Network, pushed: str, layout: Path, tmp_path: Path
) -> None:
    key, config = tmp_path / "cosign.pub", tmp_path / "any.toml"
    run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "key.pem"])
    run(["openssl", "pkey", "-in", tmp_path / "key.pem", "-pubout", "-out", key])
    insecure = f'hostname = "ignored"\n[docker]\ninsecure = ["{pushed.split("/")[0]}"]\n'
    with network.inside():
        config.write_text(insecure)
        unpack("--config", config, pushed, tmp_path / "tree")
        config.write_text(f'[trust]\nkey = "{key}"\n{insecure.partition(chr(10))[2]}')
        _, told = unpack("--config", config, pushed, tmp_path / "signed", code=1)
        assert "sign" in told
        _, told = unpack("--config", config, f"oci:{layout}:6", tmp_path / "signed", code=2)
        assert "signatures are kept in registries" in told
        config.write_text('[plugins]\nregistry = "skopeo"\n')
        _, told = unpack("--config", config, pushed, tmp_path / "signed", code=2)
        assert f"{config}: plugins.registry: 'skopeo', the plugin for the role registry, is not installed" in told
        config.write_text('[plugins]\nregistry = 1\n[trust]\nkey = 1\n')
        _, told = unpack("--config", config, pushed, tmp_path / "signed", code=2)
        assert "plugins.registry: expected" in told
        assert "trust.key: expected a string" in told
    assert not (tmp_path / "signed").exists()


def test_a_registry_that_sends_something_else_half_way_leaves_nothing(
    network: Network, registry: Registry, tmp_path: Path
) -> None:
    maker = LayoutMaker(tmp_path / "layout")
    maker.image([tar(*(file(b"f%d" % number, os.urandom(1 << 16)) for number in range(200)))], "6")
    name = f"{registry.address}/damaged:6"
    copy = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false"]
    run(network.command([*copy, f"oci:{maker.path}:6", f"docker://{name}"]))
    digest = Layout(maker.path).image().manifest.layers[0].digest.encoded
    stored = next(registry.storage.rglob(f"{digest}/data"))
    content = bytearray(stored.read_bytes())
    content[-100] ^= 1
    stored.write_bytes(content)
    _, told = inside(network, "--http", name, tmp_path / "tree", code=1)
    assert f"sent something else than sha256:{digest}" in told
    assert not (tmp_path / "tree").exists()
