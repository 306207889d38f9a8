"""The two sources of randomness, kept apart.

`uniform_bits` is unpredictable: a ChaCha20 stream keyed by the operating system. Noise and participation come
from it. `key` is reproducible: a hash of its parts. Shuffles, latents and initial weights come from it.
"""

import hashlib
import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms


def uniform_bits(count: int) -> np.ndarray:
    """Return `count` independent uniform 64-bit integers (uint64) that nobody can predict or repeat.

    A fresh 256-bit key and 96-bit nonce are taken from the operating system at each call and forgotten.
    *Guarantee:* ChaCha20 (RFC 8439) is computationally indistinguishable from uniform.
    """
    # The first four bytes are the block counter: started anywhere but at 0 it could overflow on the way.
    nonce = bytes(4) + os.urandom(12)
    keystream = Cipher(algorithms.ChaCha20(os.urandom(32), nonce), mode=None).encryptor()
    return np.frombuffer(keystream.update(bytes(8 * count)), dtype=np.uint64)


def key(*parts: int | str) -> int:
    """Hash `parts`, for example `(seed, round, user)`, to a 63-bit seed of a reproducible generator."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        text = str(part).encode("utf-8", "surrogateescape")
        digest.update(len(text).to_bytes(8, "little"))
        digest.update(text)
    return int.from_bytes(digest.digest(), "little") >> 1
