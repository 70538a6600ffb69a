"""Who made a record: a signature over the last links of its hash chains, with a key that stays with the person.

    path = make_key()
    signature = sign(records)
    check_signature(records, signature)      raises `BadSignature`

A link is a hash of all events before it, so signing the last ones signs everything. What is signed is `statement`: a
line of JSON that anybody can make again with any tool. A signature says that whoever holds the key had this record; who
that is, the person tells others by the key's fingerprint. Ed25519 comes from the package cryptography, an extra.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CellwrightError
from .events import SCHEMA_VERSION
from .record import Record

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ALGORITHM = "ed25519"
_KEY_BYTES, _SIGNATURE_BYTES = 32, 64


class SigningError(CellwrightError):
    """There is no key to sign with, or it can't be used."""


class BadSignature(CellwrightError):
    """The signature is none of this record."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature as it stands in a notebook."""

    algorithm: str
    public_key: str
    """The 32 bytes of the key, base64 encoded."""
    value: str
    """The 64 bytes of the signature, base64 encoded."""

    @property
    def fingerprint(self) -> str:
        """Short name of the key, to be compared with what its owner says. Raises `BadSignature`."""
        found = sha256(_bytes(self.public_key, _KEY_BYTES)).digest()
        return f"SHA256:{base64.b64encode(found).decode().rstrip('=')}"


def key_path() -> Path:
    """Where the person's key is: in the Jupyter data directory."""
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "cellwright" / "signing-key.pem"


def make_key(path: Path | None = None) -> Path:
    """Make a key that only its owner may read; where it is. Raises `SigningError`, also where there is one already."""
    _need_package()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = path or key_path()
    data = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise SigningError(f"There is a signing key already: {path}. Move it away to make another.") from None
    except OSError as error:
        raise SigningError(f"No signing key can be written to {path}: {error.strerror or error}.") from error
    return path


def sign(records: Sequence[Record], path: Path | None = None) -> Signature:
    """Sign the records with the person's key, or the one at `path`. Raises `SigningError`."""
    key = _key(path or key_path())
    public = key.public_key().public_bytes_raw()
    return Signature(ALGORITHM, _text(public), _text(key.sign(statement(records))))


def own_signature(records: Sequence[Record]) -> Signature:
    """Sign the records with the person's key, which is made when there is none. Raises `SigningError`."""
    path = key_path()
    if not path.exists():
        make_key(path)
    return sign(records, path)


def check_signature(records: Sequence[Record], signature: Signature) -> None:
    """Raises `BadSignature` where it is not one of these records, `SigningError` without the package cryptography."""
    _need_package()
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if signature.algorithm != ALGORITHM:
        raise BadSignature(f"The signature is by {signature.algorithm[:40]!r}; only {ALGORITHM!r} is known here.")
    public, value = _bytes(signature.public_key, _KEY_BYTES), _bytes(signature.value, _SIGNATURE_BYTES)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(value, statement(records))
    except (InvalidSignature, ValueError):
        raise BadSignature("The signature does not fit: it was made over another record, or was changed.") from None


def statement(records: Sequence[Record]) -> bytes:
    """What is signed: JSON without blanks, keys in order, ASCII.

    `{"conversation":"<id>","runs":[["<run id>","<last link>"],...],"schema":1,"signed":"cellwright-record"}`

    A run of which the journal was damaged has a third text, the note that says so: no link stands for it.
    """
    first = records[0].run.started if records else None
    said = {
        "signed": "cellwright-record",
        "schema": SCHEMA_VERSION,
        "conversation": first.conversation if first else "",
        "runs": [[record.run.id, record.last, *filter(None, [record.note])] for record in records],
    }
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def signature_of(facts: object) -> Signature:
    """The signature that a notebook's metadata hold. Raises `BadSignature` where it is none."""
    names = ("algorithm", "public_key", "value")
    if not isinstance(facts, dict) or not all(isinstance(facts.get(name), str) for name in names):
        raise BadSignature("The notebook's signature is damaged.")
    return Signature(*(facts[name] for name in names))


def _key(path: Path) -> Ed25519PrivateKey:
    _need_package()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except FileNotFoundError:
        raise SigningError(f"There is no signing key at {path}. `cellwright export --sign` makes one.") from None
    except OSError as error:
        raise SigningError(f"The signing key {path} can't be read: {error.strerror or error}.") from error
    if os.name != "nt" and mode & 0o077:
        raise SigningError(f"The signing key {path} can be read by others: chmod 600 {path}, or make a new one.")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise SigningError(f"{path} is no signing key: {str(error)[:80]}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{path} holds a key of another kind; an {ALGORITHM} key is needed.")
    return key


def _need_package() -> None:
    try:
        import cryptography  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise SigningError("Signatures need the package cryptography: pip install 'cellwright[sign]'.") from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str, length: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSignature("The notebook's signature is damaged.") from error
    if len(data) != length:
        raise BadSignature("The notebook's signature is damaged.")
    return data
