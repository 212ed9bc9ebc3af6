"""How many runs go on at once, and what each of them gets."""

import pytest

from sekd_plugin.sweep import resources
from sekd_plugin.sweep.resources import PROCESS_BYTES, available_slots

GIB = 2**30


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores, bytes and GPUs, on which nothing is set."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def of(cores, memory=2**50, devices=()):
        monkeypatch.setattr(resources, "available_cores", lambda: cores)
        monkeypatch.setattr(resources, "available_memory", lambda: memory)
        monkeypatch.setattr(resources, "visible_devices", lambda: devices)

    return of


def test_without_gpus_every_core_has_a_run_if_memory_allows(machine):
    machine(8)
    slots = available_slots(None, GIB, 100)
    assert (slots.count, slots.threads) == (8, 1)
    machine(8, memory=3 * (PROCESS_BYTES + GIB) + 1)
    slots = available_slots(None, GIB, 100)
    assert (slots.count, slots.threads) == (3, 2)
    machine(8, memory=GIB)
    assert available_slots(None, 20 * GIB, 100).count == 1


def test_there_are_no_more_slots_than_runs_and_they_share_the_cores(machine):
    machine(8)
    slots = available_slots(None, GIB, 2)
    assert (slots.count, slots.threads) == (2, 4)
    assert slots.environment(1) == {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}


def test_gpus_have_one_run_each_and_more_take_turns(machine):
    machine(8, devices=("4", "6"))
    slots = available_slots(None, GIB, 100)
    assert slots.count == 2
    assert [slots.environment(n)["CUDA_VISIBLE_DEVICES"] for n in (0, 1)] == ["4", "6"]
    slots = available_slots(3, GIB, 100)
    assert slots.count == 3 and slots.environment(2)["CUDA_VISIBLE_DEVICES"] == "4"


def test_what_the_user_has_set_stays(machine, monkeypatch):
    machine(8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    # PyTorch would take MKL's number.
    assert available_slots(2, GIB, 9).environment(0) == {"MKL_NUM_THREADS": "3"}
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    assert available_slots(2, GIB, 9).environment(0) == {}


def test_gpus_are_named_as_the_user_names_them(monkeypatch):
    monkeypatch.setattr(resources.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert resources.visible_devices() == ("GPU-a", "GPU-b")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert resources.visible_devices() == ("0", "1")


def test_this_machine_has_cores_and_memory():
    assert resources.available_cores() >= 1
    assert resources.available_memory() > 2**20
