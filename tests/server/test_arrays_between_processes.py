"""What one process sends the other gets, to the last bit, or an error where the sender is gone."""

import threading
from multiprocessing import Pipe

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from fedprobe.server.engines.arrays import receive, send

arrays = arrays_of.arrays(
    st.sampled_from([np.int64, np.float32, np.uint8, bool]), arrays_of.array_shapes(min_dims=0, min_side=0)
)


def exchanged(message: object, sent: dict[str, np.ndarray]) -> tuple[object, dict[str, np.ndarray]]:
    ours, theirs = Pipe()
    sender = threading.Thread(target=send, args=(ours, message, sent))
    sender.start()
    got = receive(theirs)
    sender.join()
    return got


@given(st.integers() | st.text(), st.dictionaries(st.text(), arrays, max_size=3))
def test_messages_and_arrays_arrive_as_they_were(message: object, sent: dict[str, np.ndarray]) -> None:
    got, received = exchanged(message, sent)
    assert got == message and list(received) == list(sent)
    for name, array in sent.items():
        assert received[name].dtype == array.dtype and received[name].shape == array.shape
        assert received[name].tobytes() == array.tobytes()


def test_an_array_larger_than_a_pipe_holds_and_one_that_is_not_contiguous_arrive() -> None:
    large = np.arange(1_000_000).reshape(1000, 1000).T
    assert np.array_equal(exchanged(None, {"large": large})[1]["large"], large)


def test_a_sender_that_ends_within_an_array_is_an_end_of_file() -> None:
    ours, theirs = Pipe()
    ours.send((None, {"sum": ("<i8", (4,))}))
    ours.close()
    with pytest.raises(EOFError):
        receive(theirs)


def test_a_receiver_that_is_gone_is_an_error() -> None:
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(OSError):
        send(ours, None, {"sum": np.zeros(4)})
