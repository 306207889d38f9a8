"""Messages between processes, whose arrays go from memory to memory as they are."""

import os
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np


def send(connection: Connection, message: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Send a message and named arrays. Raises OSError where the other end is gone."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    connection.send((message, {name: (array.dtype.str, array.shape) for name, array in arrays.items()}))
    for array in arrays.values():
        left = _bytes(array)
        while len(left):
            left = left[os.write(connection.fileno(), left) :]


def receive(connection: Connection) -> tuple[Any, dict[str, np.ndarray]]:
    """What `send` sent from the other end. Raises EOFError or OSError where that is gone."""
    message, described = connection.recv()
    arrays = {name: np.empty(shape, dtype) for name, (dtype, shape) in described.items()}
    for array in arrays.values():
        left = _bytes(array)
        while len(left):
            count = os.readv(connection.fileno(), [left])
            if not count:
                raise EOFError
            left = left[count:]
    return message, arrays


def _bytes(array: np.ndarray) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))
