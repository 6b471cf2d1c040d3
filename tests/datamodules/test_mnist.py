import hashlib
import os
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch
from torchvision import datasets

from datamodules import MNIST
from datamodules.mnist import MD5


@pytest.fixture
def raw():
    """Return the folder with the eight original files, packed and unpacked."""
    folder = Path(os.environ.get("ABLATE_DATA_DIR", "absent")) / "MNIST" / "raw"
    lacking = [name for name in MD5 if not (folder / name).is_file()]
    if lacking:
        pytest.skip("no MNIST/raw in the folder that ABLATE_DATA_DIR names")
    return folder


@pytest.fixture
def offline(monkeypatch):
    """Point torchvision's mirrors to a closed port."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])


def link_files(raw, data_dir, *names):
    folder = data_dir / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).symlink_to(raw / name)
    return folder


def test_images_and_labels_are_those_of_torchvision(raw):
    inputs, target = MNIST(seed=1).load()
    assert inputs.shape == (70_000, 1, 28, 28)
    for start, train in [(0, True), (60_000, False)]:
        expected = datasets.MNIST(raw.parent.parent, train=train)
        end = start + len(expected)
        pixels = (expected.data[:500].float() / 255 - 0.1307) / 0.3081
        torch.testing.assert_close(inputs[start : start + 500, 0], pixels, rtol=1e-5, atol=1e-6)
        assert torch.equal(target[start:end], expected.targets)
        assert torch.equal((inputs[end - 1, 0] * 0.3081 + 0.1307).mul(255).round().byte(), expected.data[-1])


def test_training_pixels_are_standardised(raw):
    inputs, _ = MNIST(seed=1).load()
    assert inputs[:60_000].mean().item() == pytest.approx(0, abs=1e-3)
    assert inputs[:60_000].std().item() == pytest.approx(1, abs=1e-3)


def test_default_split_uses_the_official_test_images():
    split = MNIST(seed=1).split
    assert sorted(torch.cat([split.train, split.val]).tolist()) == list(range(60_000))
    assert (len(split.train), len(split.val)) == (55_000, 5_000)
    assert split.test.tolist() == list(range(60_000, 70_000))


def test_a_split_of_only_the_training_images():
    split = MNIST(train_size=0.35, val_size=0.15, test_size=0.5, seed=1).split
    assert [len(indices) for indices in split] == [21_000, 9_000, 30_000]
    assert sorted(torch.cat(split).tolist()) == list(range(60_000))


def test_trials_share_one_copy_and_set_up_without_reading(raw):
    first = MNIST(seed=1)
    first.prepare_data()
    first.setup()
    second = MNIST(seed=2)
    start = time.process_time()
    second.prepare_data()
    second.setup()
    assert time.process_time() - start < 0.2  # seconds of CPU; reading the files takes several times as long
    assert second.load()[0].data_ptr() == first.load()[0].data_ptr()


def test_the_folder_is_the_argument_or_the_variable_or_data(monkeypatch, tmp_path):
    monkeypatch.setenv("ABLATE_DATA_DIR", str(tmp_path / "variable"))
    assert MNIST(data_dir=tmp_path / "argument", seed=1).data_dir == tmp_path / "argument"
    assert MNIST(seed=1).data_dir == tmp_path / "variable"
    monkeypatch.delenv("ABLATE_DATA_DIR")
    assert MNIST(seed=1).data_dir == Path("data")


def test_sizes_beyond_the_training_images_are_refused():
    with pytest.raises(
        ValueError, match=r"MNIST: the sizes exceed the pool of 60000 examples: train_size 58000, val_size"
    ):
        MNIST(train_size=58_000)


def test_checksums_are_those_of_the_verified_copy(raw):
    assert {name: hashlib.md5((raw / name).read_bytes()).hexdigest() for name in MD5} == MD5


# --- files that are absent, damaged or out of reach ---


def test_absent_files_are_downloaded_without_noise(raw, tmp_path, monkeypatch, capfd):
    if not all((raw / f"{name}.gz").is_file() for name in MD5):
        pytest.skip("no packed files to serve")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=raw)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        MNIST(data_dir=tmp_path, seed=1).prepare_data()
        server.shutdown()
    assert {path.name for path in (tmp_path / "MNIST" / "raw").iterdir()} >= set(MD5)
    assert capfd.readouterr() == ("", "")


def test_without_files_and_network_the_error_gives_advice(tmp_path, offline):
    with pytest.raises(FileNotFoundError) as error:
        MNIST(data_dir=tmp_path, seed=1).prepare_data()
    message = str(error.value)
    assert message.startswith(f"MNIST: {tmp_path}/MNIST/raw lacks train-images-idx3-ubyte, train-labels-idx1-ubyte, ")
    assert "downloading failed (<urlopen error" in message
    assert message.endswith(
        "put train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte there, "
        "or set ABLATE_DATA_DIR or data_dir to the folder that holds MNIST/raw"
    )


def test_only_absent_files_are_named(raw, tmp_path, offline):
    folder = link_files(raw, tmp_path, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte")
    with pytest.raises(FileNotFoundError, match=f"MNIST: {folder} lacks t10k-labels-idx1-ubyte; downloading failed"):
        MNIST(data_dir=tmp_path, seed=1).prepare_data()


def test_setup_without_files_points_to_prepare_data(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"raw lacks train-images-idx3-ubyte, .*; call prepare_data\(\), or set"
    ):
        MNIST(data_dir=tmp_path, seed=1).setup()


@pytest.mark.parametrize("method", ["prepare_data", "setup"])
def test_a_damaged_file_is_named(raw, tmp_path, method):
    folder = link_files(raw, tmp_path, *list(MD5)[:3])
    damaged = folder / "t10k-labels-idx1-ubyte"
    content = (raw / damaged.name).read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError) as error:  # noqa: PT011  # the whole message is compared
        getattr(MNIST(data_dir=tmp_path, seed=1), method)()
    found = hashlib.md5(damaged.read_bytes()).hexdigest()
    assert str(error.value) == (
        f"MNIST: {damaged} is damaged: its md5 sum is {found}, it should be 27ae3e4e09519cfbb04c329615203637; "
        "delete it, and the next run downloads it again"
    )
    damaged.write_bytes(content)
    getattr(MNIST(data_dir=tmp_path, seed=1), method)()  # mended, and noticed in the same process
    damaged.write_bytes(bytes(len(content)))
    os.utime(damaged, ns=(0, 0))  # another time for sure, however coarse the clock of the file system
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte is damaged"):
        getattr(MNIST(data_dir=tmp_path, seed=1), method)()


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(NotADirectoryError) as error:
        MNIST(data_dir=tmp_path / "data", seed=1).prepare_data()
    assert str(error.value) == (
        f"MNIST: {tmp_path}/data/MNIST/raw cannot be read (Not a directory); "
        "mend that, or set ABLATE_DATA_DIR or data_dir to the folder that holds MNIST/raw"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    folder.chmod(0)
    with pytest.raises(PermissionError, match=r"MNIST: .*/MNIST/raw cannot be read \(Permission denied\); mend that"):
        MNIST(data_dir=tmp_path, seed=1).prepare_data()
