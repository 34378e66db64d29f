"""How many processes train, and what starts them: told by settings and by the machine's cards."""

import os
import shlex
import sys
from pathlib import Path

import pytest

import tasks.launch
from data.errors import TextmillError
from data.store import Store
from gpt.errors import GPTError
from gpt.ranks import join
from gpt.train import parents_pipe
from tasks.launch import Launch, card_count, launch_of, refuse_apart
from tasks.runtime import Runtime, available_cores

TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """A machine of four cards, as its driver shows them."""
    for bus in range(4):
        (tmp_path / f"0000:0{bus}:00.0").mkdir()
    monkeypatch.setattr(tasks.launch, "CARDS", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("visible", "count"),
    [(None, 4), ("", 0), ("0", 1), ("1,3", 2), ("2,-1,3", 1), ("-1", 0), ("0,1,2,3,4", 4), ("MIG-a,MIG-b", 2)],
)
def test_cards_are_those_that_cuda_would_show(cards, visible, count):
    assert card_count({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == count


def test_a_machine_without_the_driver_has_no_cards(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks.launch, "CARDS", tmp_path / "absent")
    assert card_count({"CUDA_VISIBLE_DEVICES": "0,1"}) == 0
    assert launch_of(Runtime()).argv("gpt.train") == [sys.executable, "-m", "gpt.train"]
    assert launch_of(Runtime(processes=3)).processes == 3  # on the CPU as many as one likes


def test_each_card_gets_a_process_unless_settings_say_otherwise(cards):
    assert launch_of(Runtime()).argv("m") == [*TORCHRUN, "--standalone", "--nproc-per-node", "4", "-m", "m"]
    assert launch_of(Runtime(processes=2)).processes == 2
    assert launch_of(Runtime(device="cpu")).is_one
    assert launch_of(Runtime(device="cpu", processes=2, threads=3)).environment() == {"OMP_NUM_THREADS": "3"}
    assert launch_of(Runtime(processes=2)).threads == max(1, available_cores() // 2)
    assert launch_of(Runtime(processes=1)).environment() == {}


def test_several_machines_meet_at_the_first(cards):
    launch = launch_of(Runtime(nnodes=3, processes=2, rendezvous="10.0.0.1:29400"))
    address = ["--master-addr", "10.0.0.1", "--master-port", "29400", "--nproc-per-node", "2", "-m", "m"]
    assert launch.argv("m") == [*TORCHRUN, "--nnodes", "3", "--node-rank", "0", *address]
    told = launch.elsewhere("m", Path("/a b/RUN.json"))
    for node in ("1", "2"):
        assert shlex.join([*TORCHRUN, "--nnodes", "3", "--node-rank", node, *address, "/a b/RUN.json"]) in told
    assert Launch(processes=2).elsewhere("m", Path("RUN.json")) is None
    ipv6 = launch_of(Runtime(nnodes=2, rendezvous="[fe80::1]:80"))
    assert ipv6.argv("m")[7:11] == ["--master-addr", "fe80::1", "--master-port", "80"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"nnodes": 2}, r"nnodes is 2, but runtime\.rendezvous is not set"),
        ({"nnodes": 2, "rendezvous": "host"}, r"rendezvous is 'host', but it must be host:port"),
        ({"nnodes": 2, "rendezvous": "host:70000"}, r"host:70000.*must be host:port"),
        ({"rendezvous": "host:80"}, r"rendezvous is host:80, but runtime\.nnodes is 1"),
        ({"processes": 5}, r"processes is 5, but this machine has 4 CUDA cards"),
        ({"device": "mps", "processes": 2}, r"mps takes one process"),
    ],
)
def test_settings_that_cannot_be_are_refused(cards, settings, words):
    with pytest.raises(TextmillError, match=words):
        launch_of(Runtime(**settings))


def test_several_machines_need_a_folder_that_all_see(tmp_path):
    several, store = Launch(1, 2, "10.0.0.1:29400"), Store(tmp_path)
    refuse_apart(several, store)
    store.where = "s3://bucket/prefix"
    refuse_apart(Launch(), store)
    with pytest.raises(TextmillError, match=r"nnodes is 2, but the store is s3://bucket/prefix.*TEXTMILL_STORE"):
        refuse_apart(several, store)


def test_one_process_of_torchrun_is_alone():
    environment = {"RANK": "0", "WORLD_SIZE": "1"}
    assert join("cpu", environment).count == 1 and join("cpu", {}).count == 1


def test_a_pipe_that_the_parent_has_not_got_is_refused():
    with pytest.raises(GPTError, match=r"--watch-fd is 987, but .*/fd/987 cannot be opened"):
        parents_pipe(987)
    assert not os.path.exists(f"/proc/{os.getppid()}/fd/987")  # noqa: PTH110
