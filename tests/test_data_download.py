"""Downloads over real HTTP from servers on loopback, which fail in every way that mirrors do."""

import contextlib
import dataclasses
import gzip
import hashlib
import io
import os
import pty
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
from pathlib import Path

import data_server as behave
import numpy as np
import pytest
from data_server import Server, closed_port, made_up

from tinygrad_cnn.data import datasets, download, files
from tinygrad_cnn.data.catalog import CIFAR10, KMNIST
from tinygrad_cnn.data.download import fetch
from tinygrad_cnn.data.errors import DataError, Unavailable

SPEC, ARRAYS, PACKED = made_up()
NAMES = sorted(PACKED)
BIG = "train-images-idx3-ubyte.gz"


@pytest.fixture(autouse=True)
def environment(monkeypatch, own_cache):
    """Little patience."""
    monkeypatch.setattr(download, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(download, "READ_SECONDS", 0.5)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "mnist"


@pytest.fixture
def good():
    with Server(PACKED) as server:
        yield server


def assert_complete(arrays, folder):
    """All four arrays are right, and the folder holds the four files and nothing half done."""
    for array, expected in zip(arrays, ARRAYS, strict=True):
        np.testing.assert_array_equal(array, expected)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"} == PACKED


def leave_part(folder, content):
    folder.mkdir(parents=True)
    (folder / f"{BIG}.part").write_bytes(content)


@contextlib.contextmanager
def dropping_packets():
    """The URL of a port whose queue is full, so that the system answers to no further connection."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


# ---------------------------------------------------------------------------------------------------------
# What goes well


def test_files_are_downloaded_once(good, folder):
    assert_complete(fetch(SPEC, folder, [good.url]), folder)
    assert sorted(good.asked) == [(name, None) for name in NAMES]
    assert_complete(fetch(SPEC, folder, [good.url]), folder)
    assert len(good.asked) == 4


def test_only_missing_files_are_downloaded(good, folder):
    folder.mkdir(parents=True)
    for name in NAMES[:3]:
        (folder / name).write_bytes(PACKED[name])
    assert_complete(fetch(SPEC, folder, [good.url]), folder)
    assert good.asked == [(NAMES[3], None)]


def test_mirrors_are_asked_in_order(folder, monkeypatch):
    with contextlib.ExitStack() as stack:
        argument, environment, usual, unasked = (
            stack.enter_context(Server(PACKED, behaviour))
            for behaviour in (behave.not_found, behave.overloaded, behave.well, behave.well)
        )
        # Without the slash at the end, and with blanks, as people write them.
        monkeypatch.setenv("TINYGRAD_CNN_MIRRORS", f" {environment.url[:-1]} , ")
        spec = dataclasses.replace(SPEC, mirrors=(usual.url, unasked.url))
        assert_complete(fetch(spec, folder, [argument.url]), folder)
        assert [len(server.asked) for server in (argument, environment, usual, unasked)] == [4, 4, 4, 0]


@pytest.mark.parametrize("behaviour", [behave.without_length, behave.marked_as_packed_for_the_way])
def test_unusual_servers_serve_too(behaviour, folder):
    with Server(PACKED, behaviour) as server:
        assert_complete(fetch(SPEC, folder, [server.url]), folder)


def test_a_proxy_is_used_where_nothing_else_can_be_reached(good, folder, monkeypatch):
    monkeypatch.setenv("http_proxy", good.url.removesuffix("/data/"))
    assert_complete(fetch(SPEC, folder, ["http://mirror.invalid/mnist/"]), folder)


@pytest.mark.parametrize("mirror", ["mirror.example/mnist", "ftp://mirror.example/", "https://"])
def test_a_mirror_that_is_no_url_is_refused(mirror, folder, monkeypatch):
    with pytest.raises(ValueError, match=f"'{mirror}' .*is not a base URL such as https://"):
        fetch(SPEC, folder, [mirror])
    monkeypatch.setenv("TINYGRAD_CNN_MIRRORS", mirror)
    with pytest.raises(ValueError, match=f"'{mirror}' .*is not a base URL such as https://"):
        fetch(SPEC, folder)


def test_a_lone_string_of_mirrors_is_refused(good, folder):
    with pytest.raises(TypeError, match=r"write mirrors=\('http://127"):
        fetch(SPEC, folder, good.url)


# ---------------------------------------------------------------------------------------------------------
# Mirrors that fail

FAULTS = [
    (behave.not_found, "answered HTTP 404 Not Found"),
    (behave.overloaded, "answered HTTP 503 Service Unavailable"),
    (behave.web_page, "sent a web page in place of the file"),
    (behave.undeclared_web_page, "magic number is 0x3c21444f, expected 0x00000803"),
    (behave.other_data, f"SHA-256 of its data is [0-9a-f]{{64}}, expected {SPEC.files[0].sha256}"),
    (behave.flipped_bit, "the gzip data is damaged"),
    (behave.cut_gzip, "the gzip data is cut short at"),
    (behave.too_long_a_length, r"broke off after [\d,]+ of [\d,]+ bytes"),
    (behave.too_short_a_length, "the gzip data is cut short at"),
    (behave.hang_up_in_mid_body, r"broke off after [\d,]+ of [\d,]+ bytes"),
    (behave.hang_up_in_mid_chunk, r"broke off after [\d,]+ bytes"),
    (behave.stall_in_mid_body, r"broke off after [\d,]+ of [\d,]+ bytes"),
    (behave.trickle, r"fell below 1,024 bytes a second after [\d,]+ of [\d,]+ bytes"),
    (behave.redirect_loop, "redirects in a loop"),
    (behave.malformed_redirect, "redirects to a malformed address"),
    (behave.redirect_to_no_host, "redirects to a malformed address"),
    (behave.redirect_to_a_bad_port, "redirects to a malformed address"),
    (behave.redirect_to_no_text, "redirects to a malformed address"),
    (behave.redirect_to_a_label_too_long, "redirects to a malformed address"),
    (behave.redirect_elsewhere, "redirects to a malformed address"),
    (behave.never_answer, "did not answer within 0.5 s"),
    (behave.trickling_headers, "did not answer within 0.5 s"),
]


@pytest.mark.parametrize(("behaviour", "message"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
def test_a_fault_is_told_and_the_next_mirror_recovers(behaviour, message, good, folder, capfd):
    with Server(PACKED, behaviour) as bad:
        with pytest.raises(Unavailable, match=f"{bad.url} .*{message}") as caught:
            fetch(SPEC, folder, [bad.url])
        assert "no mirror" in caught.value.reason
        assert not [path for path in folder.iterdir() if path.suffix == ".gz"]
        capfd.readouterr()

        assert_complete(fetch(SPEC, folder, [bad.url, good.url]), folder)
        told = capfd.readouterr().err
    assert f"{bad.url} " in told
    assert "trying another mirror" in told


@pytest.mark.parametrize(
    "behaviour", [behave.other_data, behave.flipped_bit, behave.cut_gzip, behave.undeclared_web_page]
)
def test_wrong_content_leaves_no_part(behaviour, folder):
    with Server(PACKED, behaviour) as bad, pytest.raises(Unavailable):
        fetch(SPEC, folder, [bad.url])
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_an_idx_header_that_lies_is_refused_whatever_its_checksum(folder):
    lie = behave.idx_bytes(ARRAYS[1])[:-1]
    first = dataclasses.replace(SPEC.files[0], sha256=hashlib.sha256(lie).hexdigest())
    spec = dataclasses.replace(SPEC, files=(first, *SPEC.files[1:]))
    with (
        Server({BIG: gzip.compress(lie)}) as server,
        pytest.raises(Unavailable, match="promises 400 bytes of data, the file has 399"),
    ):
        fetch(spec, folder, [server.url])


def test_a_mirror_that_never_answers_is_asked_only_once(good, folder):
    with Server(PACKED, behave.never_answer) as silent:
        begun = time.monotonic()
        assert_complete(fetch(SPEC, folder, [silent.url, good.url]), folder)
        assert time.monotonic() - begun < 2
        assert len(silent.asked) == 1


@pytest.mark.parametrize("behaviour", [behave.stall_in_mid_body, behave.trickle])
def test_a_mirror_that_stalled_is_asked_again_only_when_there_is_no_other(behaviour, good, folder):
    with Server(PACKED, behaviour) as slow:
        assert_complete(fetch(SPEC, folder, [slow.url, good.url]), folder)
        assert slow.asked == [(BIG, None)]

        for path in folder.iterdir():
            path.unlink()

        def slow_at_first(handler, body):
            (behaviour if len(slow.asked) == 1 else behave.well)(handler, body)

        slow.asked.clear()
        slow.behaviour = slow_at_first
        with Server({BIG: PACKED[BIG]}) as poor:
            assert_complete(fetch(SPEC, folder, [slow.url, poor.url]), folder)
        assert [name for name, _ in slow.asked] == [f"{file.name}.gz" for file in SPEC.files]


def test_a_slow_mirror_is_waited_for(folder, monkeypatch):
    monkeypatch.setattr(download, "READ_SECONDS", 0.2)

    def slowly(handler, body):
        handler.reply(200, b"", Content_Length=len(body))
        for i in range(0, len(body), 40_000):
            time.sleep(0.05)
            handler.wfile.write(body[i : i + 40_000])

    with Server(PACKED, slowly) as server:
        assert_complete(fetch(SPEC, folder, [server.url]), folder)
    assert len(server.asked) == 4


def test_a_closed_port_is_passed_over(good, folder, capfd):
    dead = closed_port()
    assert_complete(fetch(SPEC, folder, [dead, good.url]), folder)
    assert capfd.readouterr().err.count(f"{dead} could not be connected to") == 1


def test_dropped_packets_cost_one_time_out_in_all(folder):
    with contextlib.ExitStack() as stack:
        mirrors = [stack.enter_context(dropping_packets()) for _ in range(4)]
        begun = time.monotonic()
        with pytest.raises(Unavailable, match=r"could not be connected to within 0\.5 s") as caught:
            fetch(SPEC, folder, mirrors)
        assert 0.4 < time.monotonic() - begun < 1.5
    assert caught.value.reason == "no mirror could be reached"


def test_a_name_server_that_hangs_costs_one_time_out_in_all(folder, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: time.sleep(5))
    begun = time.monotonic()
    with pytest.raises(Unavailable, match=r"could not be connected to within 0\.5 s"):
        fetch(SPEC, folder, [f"http://mirror{number}.invalid/" for number in range(4)])
    assert 0.4 < time.monotonic() - begun < 1


def test_nothing_is_told_of_mirrors_where_none_can_be_reached(folder, capfd):
    with pytest.raises(Unavailable) as caught:
        fetch(SPEC, folder, [closed_port()])
    assert capfd.readouterr().err == ""
    for way_out in ("$TINYGRAD_CNN_MIRRORS", "the folder that holds the files", "the sample"):
        assert way_out in str(caught.value)


@pytest.fixture
def low_bound(monkeypatch):
    monkeypatch.setattr(files, "LARGEST_BYTES", 1_000_000)


def test_a_body_has_an_upper_bound(low_bound, folder):
    with Server(PACKED, behave.far_too_long) as bad:
        with pytest.raises(Unavailable, match="sent more than 1,000,000 bytes"):
            fetch(SPEC, folder, [bad.url])
        assert bad.sent == []  # the connection was given up before the end
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_what_a_body_unpacks_to_has_an_upper_bound(low_bound, folder):
    with (
        Server(PACKED, behave.bomb) as bad,
        pytest.raises(Unavailable, match="unpacks to more than 1,000,000 bytes"),
    ):
        fetch(SPEC, folder, [bad.url])
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_that_bound_is_one_of_the_memory(low_bound):
    packed = gzip.compress(bytes(2**24))
    tracemalloc.start()
    try:
        with pytest.raises(DataError):
            files.decode(packed, SPEC.files[0], "file")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------------------------------------------------
# Parts


@pytest.mark.parametrize("behaviour", [behave.hang_up_in_mid_body, behave.hang_up_in_mid_chunk])
def test_the_next_run_downloads_only_the_missing_bytes(behaviour, folder):
    with Server(PACKED, behaviour) as server:
        with pytest.raises(Unavailable, match="broke off"):
            fetch(SPEC, folder, [server.url])
        present = (folder / f"{BIG}.part").stat().st_size
        assert 100_000 < present < len(PACKED[BIG])

        server.behaviour = behave.well
        server.asked.clear()
        server.sent.clear()
        assert_complete(fetch(SPEC, folder, [server.url]), folder)
    assert server.asked[0] == (BIG, f"bytes={present}-")
    assert server.sent[0] == len(PACKED[BIG]) - present
    assert [wanted for _, wanted in server.asked[1:]] == [None] * 3


def test_the_next_mirror_continues_the_part(good, folder):
    with Server(PACKED, behave.hang_up_in_mid_body) as bad:
        assert_complete(fetch(SPEC, folder, [bad.url, good.url]), folder)
    name, wanted = good.asked[0]
    assert name == BIG
    assert wanted is not None


@pytest.mark.parametrize("behaviour", [behave.without_range, behave.wrong_range])
def test_a_server_that_cannot_continue_sends_all(behaviour, folder, capfd):
    leave_part(folder, PACKED[BIG][:1000])
    with Server(PACKED, behaviour) as server:
        assert_complete(fetch(SPEC, folder, [server.url]), folder)
    assert server.asked[0] == (BIG, "bytes=1000-")
    assert capfd.readouterr().err.count(f"downloading {BIG}") == 1  # not the wrong bytes first


def test_a_part_as_long_as_the_file_is_begun_again(good, folder):
    leave_part(folder, bytes(len(PACKED[BIG])))
    assert_complete(fetch(SPEC, folder, [good.url]), folder)
    assert [wanted for name, wanted in good.asked if name == BIG] == [f"bytes={len(PACKED[BIG])}-", None]


def test_a_part_of_something_else_is_begun_again(good, folder):
    leave_part(folder, bytes(1000))
    assert_complete(fetch(SPEC, folder, [good.url]), folder)
    assert [wanted for name, wanted in good.asked if name == BIG] == ["bytes=1000-", None]


def test_an_empty_part_is_begun_again(good, folder):
    leave_part(folder, b"")
    assert_complete(fetch(SPEC, folder, [good.url]), folder)


def test_a_web_page_does_not_cost_the_part(folder):
    leave_part(folder, PACKED[BIG][:1000])
    with Server(PACKED, behave.web_page) as server, pytest.raises(Unavailable):
        fetch(SPEC, folder, [server.url])
    assert (folder / f"{BIG}.part").read_bytes() == PACKED[BIG][:1000]


# ---------------------------------------------------------------------------------------------------------
# The cache folder


@pytest.mark.parametrize("damage", [lambda whole: whole[:-9], lambda whole: gzip.compress(b"x"), lambda whole: b""])
def test_a_damaged_cached_file_is_removed_and_downloaded_again(damage, good, folder, capfd):
    fetch(SPEC, folder, [good.url])
    (folder / BIG).write_bytes(damage(PACKED[BIG]))
    good.asked.clear()
    capfd.readouterr()
    assert_complete(fetch(SPEC, folder, [good.url]), folder)
    assert good.asked == [(BIG, None)]
    told = capfd.readouterr().err
    assert BIG in told
    assert "removed, and downloaded again" in told


def test_a_damaged_cached_file_is_removed_even_if_no_mirror_is_reached(folder):
    folder.mkdir(parents=True)
    (folder / BIG).write_bytes(b"damaged")
    with pytest.raises(Unavailable):
        fetch(SPEC, folder, [closed_port()])
    assert not (folder / BIG).exists()


def test_a_file_in_the_place_of_the_folder_is_told(good, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"cache/mnist cannot be used \(.+\)\. .*\$TINYGRAD_CNN_DATA") as caught:
        fetch(SPEC, tmp_path / "cache" / "mnist", [good.url])
    assert isinstance(caught.value, Unavailable)
    assert "cannot be used" in caught.value.reason
    assert good.asked == []


@contextlib.contextmanager
def unprivileged():
    """No root for a while, since root may write to a read-only folder."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_read_only_folder_serves_what_it_holds_and_is_told_when_that_is_not_enough(good):
    # Not in tmp_path, which only its owner may enter.
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        folder = Path(parent, "mnist")
        fetch(SPEC, folder, [good.url])
        (folder / ".lock").chmod(0o444)
        folder.chmod(0o555)
        with unprivileged():
            assert_complete(fetch(SPEC, folder, [good.url]), folder)
        folder.chmod(0o755)
        (folder / BIG).unlink()
        folder.chmod(0o555)
        try:
            with (
                unprivileged(),
                pytest.raises(Unavailable, match=r"cannot be used \(Permission denied\)\. .*\$TINYGRAD_CNN_DATA"),
            ):
                fetch(SPEC, folder, [good.url])
        finally:
            folder.chmod(0o755)


def test_a_full_disk_is_told(good, folder):
    # A limit on the size of a file fails in the middle of a write, as a full disk does.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(Unavailable, match=r"mnist cannot be used \(File too large\)\. .*\$TINYGRAD_CNN_DATA"):
            fetch(SPEC, folder, [good.url])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_complete(fetch(SPEC, folder, [good.url]), folder)
    assert good.asked[1] == (BIG, "bytes=100000-")


# ---------------------------------------------------------------------------------------------------------
# Processes

PROGRAM = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from pathlib import Path
import numpy as np
from data_server import made_up
from tinygrad_cnn.data.download import fetch
spec, arrays, _ = made_up()
for array, expected in zip(fetch(spec, Path(sys.argv[1]), sys.argv[2:]), arrays, strict=True):
    np.testing.assert_array_equal(array, expected)
"""


def start(folder, *mirrors, stderr=subprocess.PIPE):
    command = [sys.executable, "-c", PROGRAM, str(folder), *mirrors]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)


def test_two_processes_at_once_download_each_file_once(folder):
    def slowly(handler, body):
        time.sleep(0.2)
        behave.well(handler, body)

    with Server(PACKED, slowly) as server:
        processes = [start(folder, server.url) for _ in range(2)]
        told = [process.communicate(timeout=20)[1].decode() for process in processes]
        assert [process.returncode for process in processes] == [0, 0], told
        assert sorted(server.asked) == [(name, None) for name in NAMES]
    assert sum("another process is downloading" in text for text in told) == 1
    assert_complete(fetch(SPEC, folder), folder)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_process_that_is_stopped_leaves_its_part_to_the_next(how, folder):
    part = folder / f"{BIG}.part"
    with Server(PACKED, behave.stall_in_mid_body) as server:
        process = start(folder, server.url)
        deadline = time.monotonic() + 10
        while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(how)
        _, told = process.communicate(timeout=10)
        assert process.returncode == -how
        assert (b"KeyboardInterrupt" in told) == (how == signal.SIGINT)
        present = part.stat().st_size
        assert 0 < present < len(PACKED[BIG])

        server.behaviour = behave.well
        server.asked.clear()
        assert_complete(fetch(SPEC, folder, [server.url]), folder)
        assert server.asked[0] == (BIG, f"bytes={present}-")


# ---------------------------------------------------------------------------------------------------------
# What a person sees


def test_in_a_pipe_there_is_one_plain_line_per_file(good, folder, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    fetch(SPEC, folder, [good.url])
    out, err = capfd.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 4
    for line, file in zip(lines, SPEC.files, strict=True):
        assert re.fullmatch(rf"downloading {file.name}\.gz \([\d.]+ (bytes|kB)\) from {good.url}", line)


def test_on_a_terminal_there_is_a_bar_per_file(good, folder):
    ours, theirs = pty.openpty()
    process = start(folder, good.url, stderr=theirs)
    os.close(theirs)
    shown = b""
    while process.poll() is None or select.select([ours], [], [], 0)[0]:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
    os.close(ours)
    process.communicate(timeout=10)
    assert process.returncode == 0
    text = shown.decode()
    assert all(name in text for name in NAMES)
    assert "━" in text
    assert "kB" in text
    assert "downloading" not in text


# ---------------------------------------------------------------------------------------------------------
# CIFAR-10, which is one archive, and Kuzushiji-MNIST, whose packed files have the checksums


def cifar(count=7):
    """A made-up CIFAR-10, its arrays, and its archive by its name."""
    rng = np.random.default_rng(1)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    rows = {name: rng.integers(0, 10, (count, 3073), np.uint8) for name in names}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("batches.meta.txt", *reversed(names)):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            content = rows[name].tobytes() if name in rows else b"names"
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    file = CIFAR10.files[0]
    content = packed.getvalue()
    spec = dataclasses.replace(
        CIFAR10, files=(dataclasses.replace(file, sha256=hashlib.sha256(content).hexdigest()),), mirrors=()
    )
    train = np.concatenate([rows[name] for name in names[:5]])
    arrays = [train[:, 1:].reshape(-1, 3, 32, 32), train[:, 0], rows["test_batch"][:, 1:], rows["test_batch"][:, 0]]
    return spec, arrays, {file.name: content}


def test_cifar_comes_from_a_mirror_once(folder, monkeypatch):
    spec, arrays, packed = cifar()
    monkeypatch.setattr(datasets, "CIFAR10", spec)
    with Server(packed) as server:
        for _ in range(2):
            found = datasets.load("cifar10", mirrors=[server.url])
        assert server.asked == [("cifar-10-binary.tar.gz", None)]
    assert found.train_images.shape == (35, 3, 32, 32) and found.test_images.shape == (7, 3, 32, 32)
    np.testing.assert_array_equal(found.train_images, arrays[0] / np.float32(255))
    np.testing.assert_array_equal(found.train_labels, arrays[1])
    np.testing.assert_array_equal(found.test_images.reshape(7, -1), arrays[2] / np.float32(255))
    np.testing.assert_array_equal(found.test_labels, arrays[3])
    assert found.classes[3] == "cat"
    assert found.source.startswith("CIFAR-10, 35 training and 7 test photographs, from ")


def test_cifar_is_verified_and_a_part_of_it_continued(folder, monkeypatch):
    spec, _, packed = cifar()
    (content,) = packed.values()
    cut = Server(packed, behave.hang_up_in_mid_body)
    other = Server({name: content[:-1] + b"x" for name in packed})
    with cut, other, Server(packed) as good:
        assert len(fetch(spec, folder, [cut.url, other.url, good.url])) == 4
        assert good.asked[0][1] is None and other.asked[0][1] is not None
    with (
        Server({}) as empty,
        pytest.raises(Unavailable, match=r"cifar-10-binary\.tar\.gz is not in .* no mirror served"),
    ):
        fetch(spec, folder.parent / "else", [empty.url])


@pytest.mark.parametrize(
    "content", [b"", b"no archive", gzip.compress(b"no archive"), cifar()[2]["cifar-10-binary.tar.gz"][:20_000]]
)
def test_what_is_no_archive_of_cifar_is_refused(content, tmp_path):
    file = dataclasses.replace(CIFAR10.files[0], sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(DataError, match=r"^here: is not the archive of CIFAR-10 \("):
        files.decode(content, file, "here")
    with pytest.raises(DataError, match=r"^here: the SHA-256 of its bytes is [0-9a-f]{64}, expected c4a38c50"):
        files.decode(content, CIFAR10.files[0], "here")


def test_a_folder_without_cifar_says_what_belongs_there(tmp_path):
    with pytest.raises(DataError, match=rf"^{tmp_path} lacks cifar-10-binary.tar.gz\. Put the files of CIFAR-10 there"):
        datasets.load("cifar10", data_dir=tmp_path)


def test_kmnist_is_verified_packed(folder, monkeypatch, tmp_path):
    packed = [
        dataclasses.replace(file, sha256="", packed_md5=hashlib.md5(PACKED[file.served]).hexdigest())
        for file in SPEC.files
    ]
    monkeypatch.setattr(datasets, "KMNIST", dataclasses.replace(KMNIST, files=tuple(packed), mirrors=()))
    with Server(PACKED, behave.flipped_bit) as damaged, Server(PACKED) as good:
        found = datasets.load("kmnist", mirrors=[damaged.url, good.url])
        assert [len(server.asked) for server in (damaged, good)] == [4, 4]
    np.testing.assert_array_equal(found.test_labels, ARRAYS[3])
    assert found.classes[1] == "ki"
    for name, content in PACKED.items():  # torchvision leaves both
        (tmp_path / name).write_bytes(content)
        (tmp_path / name.removesuffix(".gz")).write_bytes(gzip.decompress(content))
    assert datasets.load("kmnist", data_dir=tmp_path).source.endswith(f"from {tmp_path}")
    (tmp_path / BIG).write_bytes(gzip.compress(b"other"))
    with pytest.raises(DataError, match=r"the MD5 of its packed bytes is [0-9a-f]{32}, expected [0-9a-f]{32}"):
        datasets.load("kmnist", data_dir=tmp_path)
