"""One file for a whole run: what goes in comes out, and a failed write leaves the old file."""

import io
import itertools
import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from contextlib import suppress

import numpy as np
import pytest

from tinygrad_cnn import Tensor, load, nn, save
from tinygrad_cnn.checkpoint import CheckpointError, atomic_write, files, load_checkpoint, save_checkpoint


def test_nested_state_comes_back(tmp_path):
    path = tmp_path / "run.npz"
    state = {
        "weights": {"conv.weight": Tensor(np.arange(6.0).reshape(2, 3)), "half": np.ones(2, np.float16)},
        "list": [1, 2.5, "text", None, True, np.arange(3)],
        "big": 2**100,
        "scalar": np.float32(0.5),
        "empty": {},
    }
    save_checkpoint(path, state)
    loaded = load_checkpoint(path)
    np.testing.assert_array_equal(loaded["weights"]["conv.weight"], np.arange(6.0).reshape(2, 3))
    assert loaded["weights"]["half"].dtype == np.float16
    assert loaded["list"][:5] == [1, 2.5, "text", None, True]
    np.testing.assert_array_equal(loaded["list"][5], np.arange(3))
    assert (loaded["big"], loaded["scalar"], loaded["empty"]) == (2**100, 0.5, {})
    assert os.listdir(tmp_path) == ["run.npz"]


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "run.npz"
    save_checkpoint(path, {"epoch": 1})
    with pytest.raises(TypeError):
        save_checkpoint(path, {"epoch": object()})
    with pytest.raises(CheckpointError, match="there"):
        save_checkpoint(tmp_path / "nowhere" / "there.npz", {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["run.npz"]


def test_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    save_checkpoint(path, {"epoch": 1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["run.npz"]


def not_a_file(path):
    path.mkdir()


def text(path):
    path.write_text("hello")


def empty(path):
    path.write_bytes(b"")


def truncated(path):
    save_checkpoint(path, {"weights": np.arange(1000.0)})
    path.write_bytes(path.read_bytes()[:-200])


def corrupted(path):
    save_checkpoint(path, {"weights": np.arange(1000.0)})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(50)
    path.write_bytes(content)


def other_arrays(path):
    np.savez(path, weights=np.ones(2))


def one_array(path):
    with open(path, "wb") as file:
        np.save(file, np.ones(2))


def pickled(path):
    np.savez(path, state=np.array({"a": 1}, dtype=object))


def lying(path):
    """The header promises 20 GB, and nothing follows."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (5 * 10**9 // 2,)})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("zeros.npy", header.getvalue())


@pytest.mark.parametrize(
    "damage", [not_a_file, text, empty, truncated, corrupted, other_arrays, one_array, pickled, lying]
)
def test_a_file_that_is_none_is_one_clear_error(tmp_path, damage):
    path = tmp_path / "run.npz"
    damage(path)
    with pytest.raises(CheckpointError, match=r"run\.npz"):
        load_checkpoint(path)


def torch_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", b"\x80\x02}.")
        file.writestr("model/data/0", bytes(8))


def torch_before_1_6(path):
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2))


def torch_itself(path):
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(3, 2).state_dict(), path)


@pytest.mark.parametrize("write", [torch_zip, torch_before_1_6, torch_itself])
@pytest.mark.parametrize("read", [load_checkpoint, load])
def test_a_file_of_pytorch_is_named_and_the_way_its_weights_take(tmp_path, write, read):
    write(tmp_path / "model.pt")
    with pytest.raises(
        CheckpointError, match=r"model\.pt is a file of PyTorch's .*load_safetensors.*numpy\.savez"
    ) as told:
        read(tmp_path / "model.pt")
    assert "\n" not in str(told.value)


def test_a_file_of_numpy_is_named_and_its_arrays_fit_a_model(tmp_path):
    model = nn.Linear(3, 2)
    np.savez(tmp_path / "weights.npz", **{name: value.numpy() for name, value in model.state_dict().items()})
    with pytest.raises(CheckpointError, match=r"weights\.npz holds arrays of numpy.savez, .*: numpy\.load reads them"):
        load(tmp_path / "weights.npz")
    other = nn.Linear(3, 2)
    other.load_state_dict(np.load(tmp_path / "weights.npz"))
    np.testing.assert_array_equal(other.weight, model.weight)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"losses": [1.0, {2}]}, "obj['losses'][1] is of the type set, and cannot be written: a file holds dict"),
        (
            {"model": nn.Linear(3, 2)},
            "obj['model'] is of the type Linear, and cannot be written: save its state_dict()",
        ),
        ([3j], "obj[0] is of the type complex"),
    ],
)
def test_what_save_cannot_write_is_named_as_python_would(tmp_path, state, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        save(state, tmp_path / "model.pt")


def compressed(path):
    np.savez_compressed(path, state=np.array("{}"), zeros=np.zeros(25_000_000))  # 200 MB in 0.2 MB


def overlapping(path):
    """Two entries of the directory, of the same bytes of the file."""
    with zipfile.ZipFile(path, "w") as file:
        for name, array in (("state.npy", np.array("{}")), ("zeros.npy", np.zeros(10**6))):
            with file.open(name, "w") as member:
                np.save(member, array)
        twin = file.getinfo("zeros.npy")
        file.filelist += [twin] * 30


@pytest.mark.parametrize("bomb", [compressed, overlapping])
def test_what_would_unpack_to_more_than_the_file_is_refused_before_it_is_unpacked(tmp_path, bomb):
    path = tmp_path / "run.npz"
    bomb(path)
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"run\.npz is damaged, or not a checkpoint"):
            load_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def contains_itself():
    state = {}
    state["state"] = [state]
    return state


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ([np.ones(2)], "dictionary"),
        (3, "dictionary"),
        (np.ones(2), "dictionary"),
        ({"a": {1: 2, "1": 3}}, "state['a']"),
        ({"a": {True: 2}}, "state['a']"),
        ({"a": {(1, 2): 2}}, "state['a']"),
        ({None: 2}, "of state "),
        ({"array in this file": "x"}, "of state "),
        ({"a": [0, np.array([None])]}, "state['a'][1]"),
        ({"a": np.zeros(2, [("x", "f4")])}, "state['a']"),
        ({"a": np.ma.masked_array([1, 2], [True, False])}, "state['a']"),
        ({"a": np.array(["text"], np.dtypes.StringDType())}, "state['a']"),
        ({"a": np.datetime64(1, "ns")}, "state['a']"),
        ({"a": np.timedelta64(1, "ns")}, "state['a']"),
        ({"a": np.complex64(1)}, "state['a']"),
        ({"a": {"b": {1, 2}}}, "state['a']['b']"),
        ({"a": b"bytes"}, "state['a']"),
        ({"a": len}, "state['a']"),
        ({"a": 1j}, "state['a']"),
        ({"a": 10**5000}, "state['a']"),
        (contains_itself(), "contains itself"),
    ],
)
def test_what_would_not_come_back_is_refused_before_the_old_file_is_touched(tmp_path, state, place):
    path = tmp_path / "run.npz"
    save_checkpoint(path, {"epoch": 1})
    before = path.stat()
    with pytest.raises((TypeError, ValueError), match=re.escape(place)):
        save_checkpoint(path, state)
    assert path.stat() == before
    assert os.listdir(tmp_path) == ["run.npz"]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)[::-1, :, ::2],
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">f4"),
        np.array([np.nan, np.inf, -0.0]),
        np.array(5),
        np.zeros((0, 3)),
        np.array([1 + 2j]),
        np.ones(2, np.longdouble),
        np.array(["a", "b\0c", ""]),
        np.array([b"a", b"bc"]),
        np.array(["2020-01-01", "1970-01-01"], "M8[D]"),
        np.array([5], "m8[ns]"),
        np.array([True, False]),
        np.broadcast_to(np.float16(1), (2, 3)),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_come_back_bit_by_bit(tmp_path, array):
    save_checkpoint(tmp_path / "run.npz", {"array": array})
    loaded = load_checkpoint(tmp_path / "run.npz")["array"]
    assert (loaded.dtype, loaded.shape, loaded.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_keys_and_strings_of_any_kind_come_back(tmp_path):
    keys = ["a", "a.npy", "a/b", "/a", "state", "state.npy", "file", "0", "0.npy", "n\0n", "\ud800", "", "ä'", "../x"]
    state = {key: np.array(i) for i, key in enumerate(keys)} | {"nested": {"b": np.array(99)}, "text": "x\0\ud800"}
    save_checkpoint(tmp_path / "run.npz", state)
    assert load_checkpoint(tmp_path / "run.npz") == state


def test_numbers_that_json_does_not_know_come_back(tmp_path):
    save_checkpoint(tmp_path / "run.npz", {7: [float("nan"), float("inf"), -0.0, np.float32(0.1), np.int8(3), 2**64]})
    (loaded,) = load_checkpoint(tmp_path / "run.npz").values()
    assert str(loaded) == "[nan, inf, -0.0, 0.10000000149011612, 3, 18446744073709551616]"


def test_a_file_whose_arrays_are_named_by_their_place_in_the_state_is_read(tmp_path):
    """As they were before they were numbered."""
    names = ["/a", "/a.npy", "/a/b", "/a/b'"]
    tree = {name: {"array in this file": name} for name in names}
    arrays = {name: np.array(i) for i, name in enumerate(names)}
    np.savez(tmp_path / "run.npz", state=np.array(json.dumps(tree)), **arrays)
    assert load_checkpoint(tmp_path / "run.npz") == arrays


# ---- atomic writes


def test_threads_that_save_one_path_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "run.npz"
    errors = []

    def save(number):
        try:
            for _ in range(20):
                save_checkpoint(path, {"number": number, "array": np.full(1000, number)})
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    loaded = load_checkpoint(path)
    assert (loaded["array"] == loaded["number"]).all()
    assert os.listdir(tmp_path) == ["run.npz"]


KILLED = """
import os, signal, sys
from tinygrad_cnn.checkpoint import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_run_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path):
    path = tmp_path / "a[1].txt"
    command = [sys.executable, "-c", KILLED, str(path)]
    assert subprocess.run([*command, "killed"]).returncode == -signal.SIGKILL
    old = tmp_path / f".a[1].txt.{os.getpid()}.part"  # what earlier versions called it
    old.write_bytes(b"half")
    others = tmp_path / ".b.txt.0123.part"
    others.write_bytes(b"half")
    assert len(os.listdir(tmp_path)) == 3

    with subprocess.Popen([*command, "live"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as live:
        assert live.stdout.readline() == b"writing\n"
        with atomic_write(path) as file:
            file.write(b"ours")
        assert path.read_bytes() == b"ours"
        assert len(os.listdir(tmp_path)) == 3  # the file, the part of the live process, and that of another file
        live.stdin.close()
    assert live.returncode == 0
    assert path.read_bytes() == b"half"
    assert sorted(os.listdir(tmp_path)) == [".b.txt.0123.part", "a[1].txt"]


def test_a_part_that_is_taken_for_abandoned_before_it_is_locked_is_written_anew(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    lock, calls = files.fcntl.flock, itertools.count()

    def late(file, operation):
        if next(calls) == 0:
            files._remove_abandoned_parts(path)
        lock(file, operation)

    monkeypatch.setattr(files.fcntl, "flock", late)
    with atomic_write(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_where_there_are_no_locks_parts_stay_and_files_are_written(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", unsupported)
    (tmp_path / ".a.txt.1.part").write_bytes(b"half")
    with atomic_write(tmp_path / "a.txt") as file:
        file.write(b"whole")
    assert sorted(os.listdir(tmp_path)) == [".a.txt.1.part", "a.txt"]


def test_the_permissions_of_an_existing_file_are_kept_and_those_of_a_new_one_follow_the_umask(tmp_path):
    path = tmp_path / "run.npz"
    before = os.umask(0o027)
    try:
        save_checkpoint(path, {"epoch": 1})
        assert path.stat().st_mode & 0o777 == 0o640
        for mode in (0o600, 0o666, 0o444):
            path.chmod(mode)
            save_checkpoint(path, {"epoch": 2})
            assert path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(before)


def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "run.npz", tmp_path / "run.npz"
    link.symlink_to(target)
    for epoch in range(2):  # the first time it points at nothing
        save_checkpoint(link, {"epoch": epoch})
        assert link.is_symlink() and load_checkpoint(target) == {"epoch": epoch}
    assert os.listdir(tmp_path / "disk") == ["run.npz"]
    assert sorted(os.listdir(tmp_path)) == ["disk", "run.npz"]


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with atomic_write(tmp_path / "pipe") as file:
            file.write(b"whole")
        assert os.read(reader, 100) == b"whole"
    finally:
        os.close(reader)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_write_that_fails_half_way_keeps_the_old_file(tmp_path):
    path = tmp_path / "run.npz"
    save_checkpoint(path, {"epoch": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"cannot write .*run\.npz: File too large"):
            save_checkpoint(path, {"weights": np.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_checkpoint(path) == {"epoch": 1}
    assert os.listdir(tmp_path) == ["run.npz"]


def test_whatever_is_damaged_it_is_one_kind_of_error(tmp_path):
    path = tmp_path / "run.npz"
    save_checkpoint(path, {"weights": np.arange(5.0), "epoch": 1})
    content, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(500):
        damaged = bytearray(content)
        damaged[random.integers(len(content))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with suppress(CheckpointError):
            load_checkpoint(path)
