"""A line between the parent and a worker: one byte where one says it all, a pickle after it where it does not."""

import pickle
import socket
import struct
from typing import Any, Final

import cloudpickle

STEP: Final = b"s"
RESET: Final = b"r"
LOOK: Final = b"l"  # observe again, nothing happens
CALL: Final = b"c"  # + pickle: a request
DONE: Final = b"d"
MORE: Final = b"m"  # + pickle: done, and this belongs to it
RAISED: Final = b"e"  # + pickle: (summary, traceback)

_LENGTH: Final = struct.Struct("<Q")


class HungUpError(Exception):
    """The other end of the line is gone."""


def tell(line: socket.socket, sign: bytes, payload: Any = None) -> None:
    """Send a sign, and after it, where the sign has one, its payload. Raises HungUpError."""
    try:
        if sign in (CALL, MORE, RAISED):
            data = cloudpickle.dumps(payload, protocol=pickle.HIGHEST_PROTOCOL)
            line.sendall(sign + _LENGTH.pack(len(data)))
            line.sendall(data)
        else:
            line.sendall(sign)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise HungUpError from error


def hear(line: socket.socket) -> tuple[bytes, Any]:
    """Wait for a sign: itself and its payload, None where it has none. Raises HungUpError."""
    sign = _exactly(line, 1)
    if sign not in (CALL, MORE, RAISED):
        return bytes(sign), None
    (length,) = _LENGTH.unpack(_exactly(line, _LENGTH.size))
    return bytes(sign), pickle.loads(_exactly(line, length))


def _exactly(line: socket.socket, count: int) -> bytes | bytearray:
    try:
        first = line.recv(count)
        if len(first) == count:
            return first
        data = bytearray(first)
        while data and len(data) < count:
            more = line.recv(min(count - len(data), 1 << 20))
            if not more:
                raise HungUpError
            data += more
    except ConnectionResetError as error:
        raise HungUpError from error
    if not data:
        raise HungUpError
    return data
