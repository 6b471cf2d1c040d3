"""Devices that workers get."""

import os

import pytest

from experiments.runners.devices import Devices, find_devices, parse_gpu_list

LISTING = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-aaaa)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bbbb)
  MIG 3g.40gb     Device  0: (UUID: MIG-1111)
  MIG 3g.40gb     Device  1: (UUID: MIG-2222)
GPU 2: NVIDIA H100 80GB HBM3 (UUID: GPU-cccc)
"""


def test_a_gpu_divided_by_mig_is_listed_by_its_instances():
    assert parse_gpu_list(LISTING) == ("0", "MIG-1111", "MIG-2222", "2")


def test_chosen_gpus_are_indices_into_the_visible_ones_or_uuids(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,GPU-aaaa,MIG-1111")
    assert find_devices() == Devices(gpus=("4", "6", "GPU-aaaa", "MIG-1111"))
    assert find_devices(["1", "0"]) == Devices(gpus=("6", "4"))
    assert find_devices(["MIG-11", "GPU-aaaa"]) == Devices(gpus=("MIG-1111", "GPU-aaaa"))


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["2"], "'2' is not there; the visible GPUs are counted from 0: 4, GPU-aaaa"),
        (["GPU-b"], "'GPU-b' is not one of the visible GPUs: 4, GPU-aaaa"),
        (["0", "0"], "0,0 names a device twice"),
        (["1", "GPU-a"], "1,GPU-a names a device twice"),
        (["-1"], "'-1' is not one of the visible GPUs"),
        ([""], "'' is not one of the visible GPUs"),
        ([], "names no device"),
    ],
)
def test_a_gpu_that_is_not_there_is_an_error(chosen, message, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-aaaa")
    with pytest.raises(ValueError, match=message):
        find_devices(chosen)


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_with_hidden_gpus_the_devices_are_cores(hidden, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert find_devices() == Devices()
    core = min(os.sched_getaffinity(0))
    assert find_devices([str(core)]) == Devices(cores=(core,))
    with pytest.raises(ValueError, match=r"'9999' is not there; without a GPU, devices are cores: \d"):
        find_devices(["9999"])
