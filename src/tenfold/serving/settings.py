"""What a server is told, and its limits."""

from dataclasses import dataclass
from pathlib import Path

from tenfold.images.decode import MAX_PIXELS


@dataclass(frozen=True)
class ServerSettings:
    """Every choice of a server. A worker process gets it whole, so it holds plain values only.

    Attributes:
        model: a run folder or a model's file; None is the model in the box.
        host: the address that it listens on.
        token: that every request to the API must carry; None asks for none.
        host_names: by which clients may call this machine, besides its addresses and own name.
        rate: requests in a second that one client may make on average; None is no limit.
        behind_proxy: whether a proxy on this machine names the client in X-Forwarded-For.
        collect: the CSV file that corrected digits are appended to; None takes none.
        grace_s: how long a server that is told to stop may go on answering.
        deadline_s: how long an answer may take from when the request is read.
        head_timeout_s: how long a client may take to send the head of a request.
        body_timeout_s: how long a client may take to send the body of a request.
        max_images: in one request for stored pixels.
        max_picture_bytes: of one picture's file.
        max_picture_pixels: of one picture; a file of 100 kB can hold a hundred million.
        max_pictures: in one form.
        max_queue_images: stored pixels of how many images may wait, of all clients.
        max_wait_s: how long they may have to wait.
        max_requests: that are answered at once, their bodies read.
        max_queue_pictures: how many pictures may wait or be read, of all clients.
        max_connections: open at once.
        max_held_bytes: of all bodies at once, without those of at most 64 kB.
    """

    model: Path | None = None
    host: str = "127.0.0.1"
    token: str | None = None
    host_names: tuple[str, ...] = ()
    rate: float | None = None
    behind_proxy: bool = False
    collect: Path | None = None
    grace_s: int = 10
    deadline_s: float = 10
    head_timeout_s: float = 10
    body_timeout_s: float = 30
    max_images: int = 1024
    max_picture_bytes: int = 20_000_000
    max_picture_pixels: int = MAX_PIXELS // 2
    max_pictures: int = 16
    max_queue_images: int = 16_384
    max_wait_s: float = 1
    max_requests: int = 128
    max_queue_pictures: int = 32
    max_connections: int = 1024
    max_held_bytes: int = 200_000_000
