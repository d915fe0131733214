"""Values that only the processes with the key can read.

    export TIDEGATE_KEYS=$(python encryption.py new-key)
    python encryption.py serve &
    python encryption.py greet world

TIDEGATE_KEYS has one key or several, separated by commas: the first one writes, all of them read. To change the key, give
every process `new,old`; once nothing that was written by the old one is wanted any more, leave it out.

Needs `pip install cryptography`.
"""

import hashlib
import hmac
import os
import sys

from cryptography.fernet import Fernet, MultiFernet

from tidegate import serve, task
from tidegate.codecs import use_codecs


class Encryption:
    """AES and HMAC with a time, as Fernet has it."""

    name = "fernet"

    def __init__(self, keys: list[str], fingerprint_secret: bytes) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._secret = fingerprint_secret

    def encode(self, data: bytes) -> bytes:
        """Another text each time, also for the same data."""
        return self._fernet.encrypt(data)

    def decode(self, data: bytes) -> bytes:
        """Raises InvalidToken where it was written by none of the keys."""
        return self._fernet.decrypt(data)

    def fingerprint(self, data: bytes) -> bytes:
        """The server knows equal parameters by this, and nobody without the secret can guess at what they are."""
        return hmac.digest(self._secret, data, hashlib.sha256)


@task
def greet(name: str) -> str:
    """The server sees neither the name nor the greeting."""
    return f"hello {name}"


if __name__ == "__main__":
    if sys.argv[1:] == ["new-key"]:
        print(Fernet.generate_key().decode())
        sys.exit()
    # The secret of the fingerprints stays when the keys change.
    use_codecs(Encryption(os.environ["TIDEGATE_KEYS"].split(","), os.environ.get("TIDEGATE_SECRET", "").encode()))
    queue = os.environ.get("TIDEGATE_QUEUE", "default")
    if sys.argv[1:] == ["serve"]:
        serve(greet, queues=[queue])
    else:
        print(greet.with_options(queue=queue).delay(sys.argv[2]).result())
