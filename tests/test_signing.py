"""Who made a record: a signature that fits this record and no other, by a key that nobody else may read."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from audit_runs import rich, short
from cellwright.notebook.export import notebook, write
from cellwright.notebook.metadata import read_file, read_record
from cellwright.record import Line, Record, record_of
from cellwright.signing import (
    BadSignature,
    Signature,
    SigningError,
    check_signature,
    key_path,
    make_key,
    sign,
    signature_of,
    statement,
)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path / "keys" / "signing-key.pem")


def test_f3_a_signature_fits_its_record(key: Path) -> None:
    records = record_of(rich())
    signature = sign(records, key)
    check_signature(records, signature)
    assert signature.fingerprint.startswith("SHA256:")
    assert sign(records, key) == signature, "Ed25519 signs the same in the same way"


def test_f3_the_signature_is_found_in_the_notebook_and_fits_its_record(key: Path, tmp_path: Path) -> None:
    records = record_of(rich())
    write(records, tmp_path / "made.ipynb", signature=sign(records, key))
    made = read_file(tmp_path / "made.ipynb")
    check_signature(read_record(made), signature_of(made["metadata"]["cellwright"]["signature"]))
    assert "signature" not in notebook(records).metadata.cellwright


def changed(records: list[Record]) -> dict[str, list[Record]]:
    """The records with one thing changed, the chain made anew so that it fits."""
    first = records[0]
    runs = rich()
    events = list(runs[0].events)
    events[0] = replace(events[0], time=1.0)
    return {
        "an event": record_of([type(runs[0])(events), *runs[1:]]),
        "a run less": records[:-1],
        "another order": [records[1], records[0], *records[2:]],
        "no runs": [],
        "the last event": [replace(first, lines=first.lines[:-1]), *records[1:]],
        "a link": [replace(first, lines=[*first.lines[:-1], Line("0" * 64, first.lines[-1].body)]), *records[1:]],
    }


@pytest.mark.parametrize("what", changed(record_of(rich())))
def test_f3_it_fits_no_other_record(key: Path, what: str) -> None:
    records = record_of(rich())
    with pytest.raises(BadSignature, match="does not fit"):
        check_signature(changed(records)[what], sign(records, key))


def test_f3_another_key_does_not_fit(key: Path, tmp_path: Path) -> None:
    records = record_of(short())
    other = sign(records, make_key(tmp_path / "other.pem"))
    mixed = replace(sign(records, key), public_key=other.public_key)
    with pytest.raises(BadSignature, match="does not fit"):
        check_signature(records, mixed)
    assert other.fingerprint != sign(records, key).fingerprint


def test_f3_anybody_can_check_the_statement_without_us(key: Path) -> None:
    records = record_of(short())
    said = json.loads(statement(records))
    assert said == {
        "signed": "cellwright-record",
        "schema": 1,
        "conversation": "talk-1",
        "runs": [["run-1", records[0].lines[-1].link]],
    }
    damaged = json.loads(statement([replace(records[0], note="Event 3 was changed.")]))
    assert damaged["runs"] == [[*said["runs"][0], "Event 3 was changed."]], "no link stands for the note"
    again = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    signature = sign(records, key)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(signature.public_key))
    public.verify(base64.b64decode(signature.value), again)


@pytest.mark.parametrize(
    "facts",
    [
        None,
        "text",
        {},
        {"algorithm": "ed25519", "public_key": 1, "value": "x"},
        {"algorithm": "rsa", "public_key": "x", "value": "x"},
        {"algorithm": "ed25519", "public_key": "no base64!", "value": "x"},
        {"algorithm": "ed25519", "public_key": "AAAA", "value": "AAAA"},
        {"algorithm": "ed25519", "public_key": "ü", "value": "AAAA"},
    ],
)
def test_f3_a_damaged_signature_is_said_in_one_line(facts: object) -> None:
    with pytest.raises(BadSignature) as error:
        check_signature(record_of(short()), signature_of(facts))
    assert "\n" not in str(error.value)


# ---- the key --------------------------------------------------------------------------------------------------------


def test_f3_only_its_owner_may_read_the_key(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) & 0o077 == 0
    key.chmod(0o644)
    with pytest.raises(SigningError, match=r"can be read by others: chmod 600 "):
        sign(record_of(short()), key)


def test_f3_a_key_is_never_written_over(key: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(SigningError, match="There is a signing key already"):
        make_key(key)
    assert key.read_bytes() == before


def test_f3_the_key_is_in_the_jupyter_data_directory(tmp_path: Path) -> None:
    code = "from cellwright.signing import make_key; print(make_key())"
    environment = {**os.environ, "JUPYTER_DATA_DIR": str(tmp_path / "data")}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert Path(shown.stdout.strip()) == tmp_path / "data" / "cellwright" / "signing-key.pem"
    assert key_path().name == "signing-key.pem"


def test_f3_what_is_no_key_is_said_in_one_line(tmp_path: Path) -> None:
    records, path = record_of(short()), tmp_path / "key.pem"
    with pytest.raises(SigningError, match="There is no signing key at"):
        sign(records, path)
    path.touch(mode=0o600)
    with pytest.raises(SigningError, match="is no signing key"):
        sign(records, path)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path.write_bytes(X25519PrivateKey.generate().private_bytes(*form, serialization.NoEncryption()))
    with pytest.raises(SigningError, match="of another kind"):
        sign(records, path)
    locked = serialization.BestAvailableEncryption(b"word")
    path.write_bytes(X25519PrivateKey.generate().private_bytes(*form, locked))
    with pytest.raises(SigningError) as error:
        sign(records, path)
    assert "\n" not in str(error.value)
    with pytest.raises(SigningError, match="No signing key can be written"):
        make_key(path / "inside" / "key.pem")


def test_f3_without_the_package_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from cellwright.signing import make_key, SigningError\n"
        "try:\n    make_key()\nexcept SigningError as error:\n    print(error)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout == "Signatures need the package cryptography: pip install 'cellwright[sign]'.\n", shown.stderr


def test_f3_a_signature_goes_to_json_and_back(key: Path) -> None:
    signature = sign(record_of(short()), key)
    assert signature_of(json.loads(json.dumps(asdict(signature)))) == signature
    assert Signature("ed25519", signature.public_key, signature.value) == signature
