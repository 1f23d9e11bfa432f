"""What ``ob`` does with containers, on a real engine and with real CNI plugins."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from orbit_lab.agent import Agent
from orbit_lab.host import reaches
from terra_core.system.process import Daemon, run
from terra_core.system.waiting import wait_until

BRIDGE = '[[networks]]\ntype = "bridge"\nname = "ob1"\n[networks.ipam]\ntype = "host-local"\nsubnet = "10.88.0.0/24"\n'


def write(path: Path, name: str = "one", more: str = "", *, image: str = "tiny:1", network: str = BRIDGE) -> Path:
    path.write_text(f'id = "{name}"\nimage = "{image}"\n{more}\n{network}')
    return path


def test_a_container_runs_at_an_address_and_goes_without_a_trace(agent: Agent, tmp_path: Path) -> None:
    made = agent.ob("create", write(tmp_path / "one.toml"))
    assert "one runs at 10.88.0." in made.stderr.decode()
    shown = agent.get("one")
    (network,) = shown["networks"]
    assert shown["status"] == "running"
    assert shown["addresses"] == network["addresses"]
    assert reaches(agent.host, network["addresses"][0])
    table = agent.ob("list").text.splitlines()
    assert table[0].split() == ["ID", "IMAGE", "STATUS", "IP", "CPU", "MEMORY", "PIDS", "SIZE", "REVISIONS"]
    assert table[1].split()[:4] == ["one", "tiny:1", "running", network["addresses"][0].partition("/")[0]]
    agent.ob("delete", "-t", "0", "one")
    assert agent.rows() == []
    assert agent.left() == []
    assert agent.host.links() == {"lo", "eth0"}


def test_a_program_runs_within_with_its_own_output_input_and_exit_code(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "one.toml"))
    done = agent.ob("exec", "one", "sh", "-c", "echo out; echo err >&2; exit 7", accept=[7])
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    big = os.urandom(3_000_000)
    assert agent.ob("exec", "one", "cat", stdin=big).stdout == big
    assert agent.ob("exec", "-e", "A=b c", "-u", "1000:1000", "one", "sh", "-c", "echo $A; id -u").stdout == b"b c\n1000\n"
    missing = agent.ob("exec", "one", "no-such-program", accept=range(1, 256))
    assert b"no-such-program" in missing.stderr + missing.stdout
    assert b"does not run" not in missing.stderr


def test_a_program_whose_command_is_killed_ends(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "one.toml"))
    seconds = f"{100_000 + os.getpid()}"  # a test run beside this one has another number
    command = Daemon(agent.words("exec", "one", "sleep", seconds), log=tmp_path / "log", env=agent.environment())

    def sleeps() -> bool:
        return any(_command(path) == f"sleep\0{seconds}\0".encode() for path in Path("/proc").glob("[0-9]*/cmdline"))

    try:
        wait_until(sleeps, seconds=60, what="the program to run")
    finally:
        command.signal(signal.SIGKILL)
        command.wait(10)
    wait_until(lambda: not sleeps(), seconds=60, what="the program to end")


def _command(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_what_it_prints_is_shown_and_followed(agent: Agent, tmp_path: Path) -> None:
    script = "echo out; echo err >&2; read line; echo $line"
    agent.ob("create", write(tmp_path / "one.toml", more=f'args = ["/bin/sh", "-c", "{script}; sleep 1000"]\n'))
    done = agent.ob("logs", "one")
    assert done.stdout.startswith(b"out\n")
    assert done.stderr == b"err\n"
    follower = Daemon(agent.words("logs", "-f", "one"), log=tmp_path / "log", env=agent.environment())
    try:
        wait_until(lambda: "out" in follower.tail(), seconds=60, what="the log to be followed")
        assert follower.alive
        agent.ob("stop", "-t", "0", "one")
        assert follower.wait(20) == 0
    finally:
        if follower.alive:
            follower.stop()


def test_an_update_keeps_the_former_revision_and_its_files_and_a_rollback_returns_to_them(agent: Agent, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    mounts = f'[[mounts]]\nsource = "{data}"\ndestination = "/data"\n'
    first = write(tmp_path / "1.toml", network=mounts + BRIDGE)
    second = write(tmp_path / "2.toml", more='env = ["A=2"]', image="tiny:2", network=mounts + BRIDGE)
    agent.ob("create", first)
    address = agent.get("one")["addresses"]
    agent.ob("exec", "one", "sh", "-c", "echo first > /state; echo data > /data/file")
    agent.ob("create", "--update", second)
    shown = agent.get("one")
    assert (shown["image"], shown["revisions"], shown["status"], shown["addresses"]) == ("tiny:2", 2, "running", address)
    assert agent.ob("exec", "one", "sh", "-c", "echo $A; ls /; cat /data/file").stdout.split()[0] == b"2"
    assert b"state" not in agent.ob("exec", "one", "ls", "/").stdout.split()
    assert b"is what it has to be already" in agent.ob("update", second).stderr
    agent.ob("exec", "one", "sh", "-c", "echo more >> /data/file")
    agent.ob("rollback", "one")
    shown = agent.get("one")
    assert (shown["image"], shown["revisions"], shown["status"], shown["addresses"]) == ("tiny:1", 1, "running", address)
    assert agent.ob("exec", "one", "cat", "/state", "/data/file").stdout == b"first\ndata\nmore\n"
    refused = agent.ob("rollback", "one", accept=[1])
    assert b"no former one" in refused.stderr
    agent.ob("delete", "-t", "0", "one")
    assert (data / "file").read_text() == "data\nmore\n"


def test_an_update_that_fails_leaves_the_container_as_it_was(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    failed = agent.ob("update", write(tmp_path / "2.toml", more='args = ["/bin/false"]'), accept=[1])
    assert b"ended at once, with exit code 1" in failed.stderr
    shown = agent.get("one")
    assert (shown["status"], shown["revisions"]) == ("running", 1)
    missing = agent.ob("update", write(tmp_path / "3.toml", "other"), accept=[1])
    assert b"no container is named 'other'" in missing.stderr


def test_stop_keeps_it_down_and_start_brings_it_back_where_it_was(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    before = agent.get("one")
    agent.ob("stop", "--time", "0", "one")
    assert [row["status"] for row in agent.rows()] == ["stopped"]
    assert agent.host.links() == {"lo", "eth0"}
    assert b"does not run" in agent.ob("exec", "one", "true", accept=[1]).stderr
    agent.ob("start", "one")
    after = agent.get("one")
    assert (after["status"], after["restarts"]) == ("running", 0)
    assert after["addresses"] == before["addresses"]
    assert after["networks"][0]["mac"] == before["networks"][0]["mac"]


def test_kill_sends_a_signal_and_sigkill_keeps_it_down(agent: Agent, tmp_path: Path) -> None:
    trap = 'trap \\"echo hup\\" HUP; while true; do sleep 0.1; done'
    agent.ob("create", write(tmp_path / "1.toml", more=f'args = ["/bin/sh", "-c", "{trap}"]'))
    agent.ob("kill", "--signal", "hup", "one")
    wait_until(lambda: agent.ob("logs", "one").stdout == b"hup\n", seconds=60, what="the signal to come")
    assert b"expected a signal" in agent.ob("kill", "-s", "NOPE", "one", accept=[2]).stderr
    agent.ob("kill", "one")
    assert agent.get("one")["status"] == "stopped"


def test_one_that_ignores_sigterm_is_stopped_all_the_same(agent: Agent, tmp_path: Path) -> None:
    ignore = 'trap \\"\\" TERM; while true; do sleep 0.1; done'
    agent.ob("create", write(tmp_path / "1.toml", more=f'args = ["/bin/sh", "-c", "{ignore}"]'))
    agent.ob("stop", "-t", "1", "one")
    assert agent.get("one")["status"] == "stopped"


def test_everything_of_the_file_reaches_the_container(agent: Agent, tmp_path: Path) -> None:
    more = (
        'args = ["/bin/sh", "-c", "sleep 1000"]\nenv = ["GREETING=hello world", "X=$(id);`id`"]\nreadonly = true\n'
        'uid = 1000\ngid = 1000\ncapabilities = ["CAP_NET_ADMIN"]\nmasked_paths = ["/home", "/etc/passwd", "/no/such"]\n'
    )
    network = (
        '[configs.motd]\npath = "/etc/motd"\ncontent = "Welcome.\\n"\nmode = "0640"\nuid = 1000\n'
        '[[mounts]]\ntype = "tmpfs"\ndestination = "/scratch"\noptions = ["size=1m", "mode=1777"]\n'
        "[resources]\ncpu = 0.5\nmemory = 64\nscore = 100\nno_file = 512\n" + BRIDGE
    )
    agent.ob("create", write(tmp_path / "1.toml", more=more, network=network))

    def ask(script: str, code: int = 0) -> str:
        return agent.ob("exec", "one", "sh", "-c", script, accept=[code]).text

    assert ask("echo $GREETING; echo $X; id -u; id -g; cat /etc/motd") == "hello world\n$(id);`id`\n1000\n1000\nWelcome.\n"
    assert ask("ls /home; cat /etc/passwd; touch /scratch/a; ls /scratch") == "a\n"
    assert ask("ulimit -n; cat /proc/self/oom_score_adj") == "512\n100\n"
    assert "touched" not in ask("touch /a 2>/dev/null && echo touched; true")
    client = agent.engine.client()
    try:
        limits = client.containers.list()[0].attrs["HostConfig"]
    finally:
        client.close()
    assert (limits["NanoCpus"], limits["Memory"], limits["CapAdd"]) == (500_000_000, 64 * 1024**2, ["CAP_NET_ADMIN"])


def test_a_service_is_looked_after_from_within_its_own_network(agent: Agent, tmp_path: Path) -> None:
    services = "[services.web]\nport = 80\n[services.web.check]\ninterval = 1\ntimeout = 1\n"
    agent.ob("create", write(tmp_path / "1.toml", network=services + BRIDGE))
    wait_until(lambda: agent.get("one")["health"] == "unhealthy", seconds=60, what="the check to fail")
    (service,) = agent.get("one")["services"]
    assert (service["name"], service["port"]) == ("web", 80)
    assert "refused" in service["reason"]


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        ('[[networks]]\ntype = "host"\n', "host"),
        (
            '[[networks]]\ntype = "macvlan"\nname = "m"\n[networks.ipam]\ntype = "static"\naddresses = ["10.0.10.77/24"]\n'
            'gateway = "10.0.10.1"\n',
            "10.0.10.77/24",
        ),
        ("", None),
    ],
    ids=["host", "macvlan", "none"],
)
def test_every_kind_of_network(agent: Agent, tmp_path: Path, networks: str, expected: str | None) -> None:
    agent.ob("create", write(tmp_path / "1.toml", network=networks))
    assert agent.get("one")["addresses"] == ([expected] if expected else [])
    interfaces = agent.ob("exec", "one", "cat", "/proc/net/dev").text
    if expected == "host":
        assert "br0" in interfaces  # the engine's own
        return
    assert ("eth0" in interfaces) == (expected is not None)
    if expected:
        assert reaches(agent.host.network, expected)


def test_ipvlan_where_the_kernel_has_it_and_a_reason_elsewhere(agent: Agent, tmp_path: Path) -> None:
    networks = (
        '[[networks]]\ntype = "ipvlan"\nname = "i"\nmaster = "eth0"\n[networks.ipam]\ntype = "host-local"\n'
        'subnet = "10.0.10.0/24"\nrange_start = "10.0.10.80"\nrange_end = "10.0.10.81"\ngateway = "10.0.10.1"\n'
    )
    trial = run(agent.host.command(["ip", "link", "add", "trial", "link", "eth0", "type", "ipvlan"]), accept=range(256))
    if trial.code == 0:
        run(agent.host.command(["ip", "link", "delete", "trial"]))
    made = agent.ob("create", write(tmp_path / "1.toml", network=networks), accept=[0 if trial.code == 0 else 1])
    if trial.code == 0:
        assert agent.get("one")["addresses"] == ["10.0.10.80/24"]
        assert reaches(agent.host.network, "10.0.10.80")
    else:
        assert b"failed to create ipvlan: operation not supported" in made.stderr
        assert b"the kernel has no ipvlan" in made.stderr


def test_two_networks_are_two_interfaces(agent: Agent, tmp_path: Path) -> None:
    second = BRIDGE.replace("ob1", "ob2").replace("10.88", "10.89")
    agent.ob("create", write(tmp_path / "1.toml", network=BRIDGE + second))
    shown = agent.get("one")["networks"]
    assert [one["interface"] for one in shown] == ["eth0", "eth1"]
    assert [one["addresses"][0][:6] for one in shown] == ["10.88.", "10.89."]


def test_what_cannot_be_is_said_and_leaves_nothing(agent: Agent, tmp_path: Path) -> None:
    def refused(more: str = "", **options: str) -> str:
        done = agent.ob("create", write(tmp_path / "x.toml", more=more, **options), accept=[1])
        assert agent.rows() == []
        assert agent.left() == []
        return done.stderr.decode()

    mount = '[[mounts]]\nsource = "/no/such/place"\ndestination = "/data"\n'
    assert "/no/such/place is not there" in refused(network=mount + BRIDGE)
    assert "pulling 127.0.0.1:1/none:1" in refused(image="127.0.0.1:1/none:1")
    macvlan = '[[networks]]\ntype = "macvlan"\nname = "m"\nmaster = "nope"\n[networks.ipam]\ntype = "dhcp"\n'
    assert "the host has no network interface nope" in refused(network=macvlan)
    assert "ended at once, with exit code 1" in refused(more='args = ["/bin/false"]')
    assert "no-such" in refused(more='args = ["no-such"]')


def test_a_name_is_taken_once(agent: Agent, tmp_path: Path) -> None:
    file = write(tmp_path / "1.toml")
    agent.ob("create", file)
    assert b"there is a container one already" in agent.ob("create", file, accept=[1]).stderr
    assert b"no container is named 'two'" in agent.ob("delete", "two", accept=[1]).stderr
    assert b"expected a name" in agent.ob("get", "../one", accept=[2]).stderr


def test_an_address_pool_that_is_empty_is_said(agent: Agent, tmp_path: Path) -> None:
    small = BRIDGE + 'range_start = "10.88.0.10"\nrange_end = "10.88.0.10"\n'
    agent.ob("create", write(tmp_path / "1.toml", network=small))
    failed = agent.ob("create", write(tmp_path / "2.toml", "two", network=small), accept=[1])
    assert b"no IP addresses available" in failed.stderr
    assert [row["id"] for row in agent.rows()] == ["one"]
    agent.ob("delete", "-t", "0", "one")
    agent.ob("create", write(tmp_path / "2.toml", "two", network=small))


def test_the_example_is_a_file_that_the_loader_takes(agent: Agent, tmp_path: Path) -> None:
    example = tmp_path / "vhost.toml"
    example.write_bytes(agent.ob("config").stdout)
    failed = agent.ob("create", example, accept=[1])
    assert b"/srv/example is not there" in failed.stderr


def test_metrics_show_restarts(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    with agent.host.inside():
        text = b"".join(agent.client().stream("/metrics")).decode()
    assert 'orbit_container_restarts{id="one"} 0.0' in text
    assert 'orbit_containers{status="running"} 1.0' in text


def test_nothing_is_served_without_the_token(agent: Agent, tmp_path: Path) -> None:
    agent.ob("create", write(tmp_path / "1.toml"))
    env = {**agent.environment(), "TERRA_TOKEN": "a-wrong-token-of-some-length"}
    for words in (["list"], ["exec", "one", "true"], ["logs", "one"]):
        done = run(agent.words(*words), env=env, accept=[1])
        assert b"token" in done.stderr, words


def test_lists_are_json_for_programs(agent: Agent) -> None:
    assert json.loads(agent.ob("list", "--json").text) == []
