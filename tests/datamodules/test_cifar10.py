import hashlib
import pickle

import numpy as np
import pytest
import torch
from torchvision import datasets

from datamodules import CIFAR10
from datamodules.cifar10 import MEAN, STD


@pytest.fixture
def offline(monkeypatch):
    """Point torchvision's address to a closed port."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")


@pytest.fixture
def few(tmp_path, monkeypatch, offline):
    """Write ten training and five test images in CIFAR-10's format, and set torchvision's sums to theirs."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    draws = np.random.default_rng(0)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return name, hashlib.md5((folder / name).read_bytes()).hexdigest()

    def batch(number):
        return {"data": draws.integers(256, size=(number, 3072), dtype=np.uint8), "labels": [*range(number)]}

    names = {"label_names": [str(number) for number in range(10)]}
    lists = {
        "train_list": [write("data_batch_1", batch(6)), write("data_batch_2", batch(4))],
        "test_list": [write("test_batch", batch(5))],
        "meta": datasets.CIFAR10.meta | dict(zip(("filename", "md5"), write("batches.meta", names), strict=True)),
    }
    for name, value in lists.items():
        monkeypatch.setattr(datasets.CIFAR10, name, value)
    return folder


def test_images_and_labels_are_those_of_torchvision(few):
    data = CIFAR10(data_dir=few.parent, seed=1)
    data.prepare_data()
    inputs, target = data.load()
    assert (inputs.shape, inputs.dtype) == ((15, 3, 32, 32), torch.float32)
    assert target.tolist() == [*range(6), *range(4), *range(5)]
    for start, is_train in ((0, True), (10, False)):
        expected = datasets.CIFAR10(few.parent, train=is_train).data
        found = inputs[start : start + len(expected)].permute(0, 2, 3, 1) * torch.tensor(STD) + torch.tensor(MEAN)
        torch.testing.assert_close((255 * found).round().byte(), torch.from_numpy(expected))


def test_trials_share_one_copy(few):
    first, second = CIFAR10(data_dir=few.parent, seed=1), CIFAR10(data_dir=few.parent, seed=2)
    assert first.load()[0].data_ptr() == second.load()[0].data_ptr()


def test_splits_are_known_without_files():
    split = CIFAR10(seed=1).split
    assert [len(indices) for indices in split] == [45_000, 5_000, 10_000]
    assert split.test.tolist() == list(range(50_000, 60_000))


def test_without_files_and_network_the_error_gives_advice(tmp_path, offline, capfd):
    with pytest.raises(FileNotFoundError) as error:
        CIFAR10(data_dir=tmp_path, seed=1).prepare_data()
    message = str(error.value)
    assert message.startswith(f"CIFAR10: {tmp_path}/cifar-10-batches-py lacks files of CIFAR-10, or they are damaged; ")
    assert "downloading failed (<urlopen error" in message
    assert message.endswith(
        "put the unpacked cifar-10-python.tar.gz there, or set ABLATE_DATA_DIR or data_dir to the folder that holds "
        "cifar-10-batches-py; datamodules.Shapes has images of this size and needs no download"
    )
    assert capfd.readouterr() == ("", "")


def test_setup_without_files_points_to_prepare_data(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lacks files of CIFAR-10, or they are damaged; call prepare_data\(\)"):
        CIFAR10(data_dir=tmp_path, seed=1).setup()


@pytest.mark.parametrize("name", ["data_batch_2", "batches.meta"])
def test_damaged_files_are_not_read(few, name):
    (few / name).write_bytes(b"damaged")
    with pytest.raises(FileNotFoundError, match="they are damaged"):
        CIFAR10(data_dir=few.parent, seed=1).setup()
    with pytest.raises(FileNotFoundError, match="downloading failed"):
        CIFAR10(data_dir=few.parent, seed=1).prepare_data()
