"""What the tests of `data` share: a small made-up dataset, and an HTTP server that misbehaves on demand."""

import dataclasses
import gzip
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from tinygrad_cnn.data.catalog import MNIST, DataFile, DatasetSpec


def idx_bytes(array: np.ndarray) -> bytes:
    """The array as an unpacked IDX file."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def made_up(train: int = 400, test: int = 30) -> tuple[DatasetSpec, list[np.ndarray], dict[str, bytes]]:
    """A spec of noise without mirrors, its four arrays, and its four packed files by their names.

    The training images are 300 KB that gzip cannot shrink: several chunks, so that a part can be left.
    """
    rng = np.random.default_rng(0)
    arrays = []
    for count in (train, test):
        arrays.append(rng.integers(0, 256, (count, 28, 28), np.uint8))
        arrays.append(rng.integers(0, 10, count, np.uint8))
    contents = [idx_bytes(array) for array in arrays]
    files = tuple(
        DataFile(usual.name, hashlib.sha256(content).hexdigest())
        for usual, content in zip(MNIST.files, contents, strict=True)
    )
    packed = {f"{file.name}.gz": gzip.compress(content) for file, content in zip(files, contents, strict=True)}
    return dataclasses.replace(MNIST, files=files, mirrors=()), arrays, packed


def closed_port() -> str:
    """The URL of a port where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"


class Handler(BaseHTTPRequestHandler):
    server: "Server"

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self.server.asked.append((name, self.headers.get("Range")))
        self.server.behaviour(self, self.server.files.get(name, b""))

    def reply(self, status: int, body: bytes, **headers: object) -> None:
        """Send an answer whose headers (Content_Length for Content-Length) may lie."""
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.server.sent.append(len(body))
        self.wfile.write(body)

    def hang_up(self) -> None:
        """End the connection, whatever was promised."""
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


Behaviour = Callable[[Handler, bytes], None]


class Server(ThreadingHTTPServer):
    """Serves `files`; `asked` is each (name, Range header) it got, `sent` the size of each body."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, files: dict[str, bytes], behaviour: Behaviour | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.behaviour = behaviour or well
        self.asked: list[tuple[str, str | None]] = []
        self.sent: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_port}/data/"

    def __enter__(self) -> "Server":
        # The default poll of half a second would be waited for at the end of every test.
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is part of what is tested."""


def well(handler: Handler, body: bytes) -> None:
    """Serve the file, or the part that was asked for."""
    if not body:
        handler.reply(404, b"no such file")
    elif wanted := handler.headers.get("Range"):
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            handler.reply(416, b"")
        else:
            handler.reply(206, body[start:], Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}")
    else:
        handler.reply(200, body)


def without_range(handler: Handler, body: bytes) -> None:
    handler.reply(200, body)


def wrong_range(handler: Handler, body: bytes) -> None:
    if handler.headers.get("Range"):
        handler.reply(206, body[10:], Content_Range=f"bytes 10-{len(body) - 1}/{len(body)}")
    else:
        handler.reply(200, body)


def without_length(handler: Handler, body: bytes) -> None:
    handler.reply(200, body, Content_Length=None)
    handler.hang_up()


def marked_as_packed_for_the_way(handler: Handler, body: bytes) -> None:
    handler.reply(200, body, Content_Encoding="gzip")


def not_found(handler: Handler, body: bytes) -> None:
    handler.reply(404, b"<h1>Not Found</h1>", Content_Type="text/html")


def overloaded(handler: Handler, body: bytes) -> None:
    handler.reply(503, b"later")


def web_page(handler: Handler, body: bytes) -> None:
    handler.reply(200, b"<!DOCTYPE html><h1>Log in</h1>", Content_Type="text/html; charset=utf-8")


def undeclared_web_page(handler: Handler, body: bytes) -> None:
    handler.reply(200, b"<!DOCTYPE html><h1>Log in</h1>", Content_Type="application/octet-stream")


def other_data(handler: Handler, body: bytes) -> None:
    content = bytearray(gzip.decompress(body))
    content[-1] ^= 1
    handler.reply(200, gzip.compress(bytes(content)))


def flipped_bit(handler: Handler, body: bytes) -> None:
    damaged = bytearray(body)
    damaged[len(body) // 2] ^= 1
    handler.reply(200, bytes(damaged))


def cut_gzip(handler: Handler, body: bytes) -> None:
    handler.reply(200, body[:-20])


def too_long_a_length(handler: Handler, body: bytes) -> None:
    handler.reply(200, body, Content_Length=len(body) + 1000)
    handler.hang_up()


def too_short_a_length(handler: Handler, body: bytes) -> None:
    handler.reply(200, body, Content_Length=len(body) // 2)
    handler.hang_up()


def hang_up_in_mid_body(handler: Handler, body: bytes) -> None:
    handler.reply(200, body[: len(body) * 2 // 3], Content_Length=len(body))
    handler.hang_up()


def hang_up_in_mid_chunk(handler: Handler, body: bytes) -> None:
    """As above, with a body whose length is not known beforehand."""
    chunk = f"{len(body):x}\r\n".encode() + body[: len(body) * 2 // 3]
    handler.reply(200, chunk, Content_Length=None, Transfer_Encoding="chunked")
    handler.hang_up()


def stall_in_mid_body(handler: Handler, body: bytes) -> None:
    handler.reply(200, body[: len(body) * 2 // 3], Content_Length=len(body))
    handler.wfile.flush()
    time.sleep(5)


def trickle(handler: Handler, body: bytes) -> None:
    """Never silent for long, and never done: 40 bytes a second."""
    handler.reply(200, body[:1000], Content_Length=len(body))
    for i in range(1000, 1400, 2):
        handler.wfile.write(body[i : i + 2])
        time.sleep(0.05)


def trickling_headers(handler: Handler, body: bytes) -> None:
    for byte in b"HTTP/1.0 200 OK\r\nServer: " + bytes(100):
        handler.wfile.write(bytes([byte]))
        time.sleep(0.05)


def malformed_redirect(handler: Handler, body: bytes) -> None:
    handler.reply(302, b"", Location="http://[::1/")


def redirect_to_no_host(handler: Handler, body: bytes) -> None:
    handler.reply(302, b"", Location="http://:80/")


def redirect_to_a_bad_port(handler: Handler, body: bytes) -> None:
    handler.reply(302, b"", Location="http://127.0.0.1:99999999/")


def redirect_to_no_text(handler: Handler, body: bytes) -> None:
    handler.reply(302, b"", Location="http://\xff\xfe/")


def redirect_to_a_label_too_long(handler: Handler, body: bytes) -> None:
    handler.reply(302, b"", Location=f"http://{'ä' * 70}.example/")


def redirect_elsewhere(handler: Handler, body: bytes) -> None:
    handler.reply(302, b"", Location="gopher://127.0.0.1/")


def redirect_loop(handler: Handler, body: bytes) -> None:
    handler.reply(302, b"", Location=handler.path)


def never_answer(handler: Handler, body: bytes) -> None:
    time.sleep(5)


def far_too_long(handler: Handler, body: bytes) -> None:
    """32 MB; `sent` tells if the client took them all."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(512):
        handler.wfile.write(bytes(2**16))
    handler.server.sent.append(2**25)


def bomb(handler: Handler, body: bytes) -> None:
    handler.reply(200, gzip.compress(bytes(2**24)))
