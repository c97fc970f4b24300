"""Which blocks under an RSA signature are not exactly the right one? Rows of the attack table, by the key's owner.

A verifier that reads the block instead of comparing it can be led to accept signatures that nobody made (Bleichenbacher
2006, BERserk 2014). Each row here is a block with one thing wrong, signed by the issuer's own key in a token that is
otherwise good; the classes are those of Project Wycheproof's vectors for PKCS #1 v1.5.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from attack_tokens import BAD, NO, OK, Attack, bearer

OID = bytes.fromhex("0609608648016503040201")
SHA1, SHA512 = bytes.fromhex("06052b0e03021a"), bytes.fromhex("0609608648016503040203")
NULL = b"\x05\x00"


def der(tag: int, content: bytes) -> bytes:
    return bytes([tag, len(content)]) + content


def info(digest: bytes, algorithm: bytes = OID + NULL) -> bytes:
    """Return the DigestInfo (RFC 8017, section 9.2)."""
    return der(0x30, der(0x30, algorithm) + der(0x04, digest))


def block(size: int, inner: bytes, *, start: bytes = b"\0\1", fill: bytes = b"\xff", middle: bytes = b"\0") -> bytes:
    return start + fill * (size - len(start) - len(middle) - len(inner)) + middle + inner


def with_byte(good: bytes, at: int, value: int) -> bytes:
    return good[:at] + bytes([value]) + good[at + 1 :]


#: name -> the block for a key of `size` bytes and a text's SHA-256
BLOCKS: dict[str, Callable[[int, bytes], bytes]] = {
    "block type 0": lambda k, d: block(k, info(d), start=b"\0\0", fill=b"\0"),
    "block type 2, for encryption": lambda k, d: block(k, info(d), start=b"\0\2", fill=b"\x55"),
    "a first byte that is not 0": lambda k, d: with_byte(block(k, info(d)), 0, 1),
    "no byte between filling and hash": lambda k, d: block(k, info(d), middle=b""),
    "a 1 between filling and hash": lambda k, d: block(k, info(d), middle=b"\1"),
    "filling that begins otherwise": lambda k, d: with_byte(block(k, info(d)), 2, 0xFE),
    "filling with one bit less": lambda k, d: with_byte(block(k, info(d)), 100, 0x7F),
    "filling of zeros": lambda k, d: block(k, info(d), fill=b"\0"),
    "filling cut short, garbage behind the hash": lambda k, d: _left(
        k, b"\0\1" + b"\xff" * 8 + b"\0" + info(d), b"\xaa"
    ),
    "filling cut short, zeros behind the hash": lambda k, d: _left(k, b"\0\1" + b"\xff" * 8 + b"\0" + info(d), b"\0"),
    "no filling, garbage behind the hash": lambda k, d: _left(k, b"\0\1\0" + info(d), b"\xaa"),
    "garbage before the filling": lambda k, d: b"\0\1" + b"\xaa" * 100 + block(k - 102, info(d), start=b""),
    "a byte behind the hash": lambda k, d: block(k, info(d) + b"\0"),
    "no NULL behind the algorithm": lambda k, d: block(k, info(d, OID)),
    "NULL with a content": lambda k, d: block(k, info(d, OID + b"\x05\x01\x00")),
    "another parameter than NULL": lambda k, d: block(k, info(d, OID + b"\x04\x00")),
    "garbage in place of NULL": lambda k, d: block(k, info(d, OID + der(0x04, b"\xaa" * 32))),
    "the algorithm SHA-1": lambda k, d: block(k, info(d, SHA1 + NULL)),
    "the algorithm SHA-512": lambda k, d: block(k, info(d, SHA512 + NULL)),
    "an algorithm spelled longer": lambda k, d: block(k, info(d, b"\x06\x0a" + OID[2:8] + b"\x80" + OID[8:] + NULL)),
    "no algorithm": lambda k, d: block(k, der(0x30, der(0x04, d))),
    "the bare hash": block,
    "a length in the long form": lambda k, d: block(k, b"\x30\x81" + info(d)[1:]),
    "a length of indefinite form": lambda k, d: block(k, b"\x30\x80" + info(d)[2:] + b"\0\0"),
    "a length one too small": lambda k, d: block(k, with_byte(info(d), 1, info(d)[1] - 1)),
    "a length one too large": lambda k, d: block(k, with_byte(info(d), 1, info(d)[1] + 1)),
    "a hash's length of 0": lambda k, d: block(k, with_byte(info(d), 18, 0)),
    "a set in place of a sequence": lambda k, d: block(k, with_byte(info(d), 0, 0x31)),
    "a bit string in place of the octets": lambda k, d: block(k, with_byte(info(d), 17, 0x03)),
    "no hash": lambda k, _: block(k, info(b"")),
    "a hash cut short": lambda k, d: block(k, info(d[:-1])),
    "a hash with a byte more": lambda k, d: block(k, info(d + b"\0")),
    "a hash with one bit wrong": lambda k, d: block(k, info(d[:-1] + bytes([d[-1] ^ 1]))),
    "the hash of nothing": lambda k, _: block(k, info(hashlib.sha256(b"").digest())),
    "a block of zeros": lambda k, _: bytes(k),
    "a block that is 1": lambda k, _: bytes(k - 1) + b"\1",
}


def _left(size: int, begins: bytes, garbage: bytes) -> bytes:
    return begins + garbage * (size - len(begins))


def _signature(f: Any, made: Callable[[int, bytes], bytes], signed: bytes) -> int:
    """Return the number whose power is the block: the private key without the library's own padding."""
    private = f.private.private_numbers()
    size = f.private.key_size // 8
    message = int.from_bytes(made(size, hashlib.sha256(signed).digest()), "big")
    # By the Chinese remainder theorem, four times as fast: there are many rows.
    one, other = pow(message, private.dmp1, private.p), pow(message, private.dmq1, private.q)
    return other + private.q * (private.iqmp * (one - other) % private.p)


def _token(f: Any, made: Callable[[int, bytes], bytes], change: Callable[[int, int], int] = lambda s, _: s) -> bytes:
    signed = f.token().rsplit(b".", 1)[0]
    number = change(_signature(f, made, signed), f.private.public_key().public_numbers().n)
    size = max(f.private.key_size // 8, (number.bit_length() + 7) // 8)
    return signed + b"." + f.b64(number.to_bytes(size, "big"))


def _good(size: int, digest: bytes) -> bytes:
    return block(size, info(digest))


def _row(name: str, made: Callable[[int, bytes], bytes]) -> Attack:
    return Attack(f"under the signature: {name}", NO, BAD, lambda parties: bearer(_token(parties.issuer, made)))


TABLE = (
    Attack("under the signature: the right block", OK, "", lambda parties: bearer(_token(parties.issuer, _good))),
    *(_row(name, made) for name, made in BLOCKS.items()),
    Attack("signature and modulus", NO, BAD, lambda p: bearer(_token(p.issuer, _good, lambda s, n: s + n))),
    Attack("modulus less signature", NO, BAD, lambda p: bearer(_token(p.issuer, _good, lambda s, n: n - s))),
    Attack("signature 1", NO, BAD, lambda p: bearer(_token(p.issuer, _good, lambda *_: 1))),
    Attack("the modulus as signature", NO, BAD, lambda p: bearer(_token(p.issuer, _good, lambda _, n: n))),
    Attack("the modulus less 1 as signature", NO, BAD, lambda p: bearer(_token(p.issuer, _good, lambda _, n: n - 1))),
)
