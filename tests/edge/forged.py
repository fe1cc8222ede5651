"""Tokens that must open nothing (promises, security 2), each with the reason it is refused for."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc.jwk import ECKey
from tests.edge.issuer import Issuer, b64, signed

if TYPE_CHECKING:
    from collections.abc import Callable

    Forge = Callable[[Issuer], bytes]

SEVEN_DAYS = 604_800


def _header(**changes: Any) -> Forge:  # noqa: ANN401 - any JSON
    return lambda issuer: issuer.token(header=changes)


def _claim(**changes: Any) -> Forge:  # noqa: ANN401 - any JSON
    return lambda issuer: issuer.token(**changes)


def _later(**seconds: int) -> Forge:
    """Times as seconds from now."""

    def make(issuer: Issuer) -> bytes:
        now = int(issuer.time.now().timestamp())
        claims: dict[str, Any] = {name: now + value for name, value in seconds.items()}
        return issuer.token(**claims)

    return make


def _unsigned(algorithm: str) -> Forge:
    def make(issuer: Issuer) -> bytes:
        header = json.dumps(issuer.header(alg=algorithm)).encode()
        return b64(header) + b"." + b64(json.dumps(issuer.claims()).encode()) + b"."

    return make


def _by_hmac(secret: Callable[[ECKey], bytes]) -> Forge:
    """The public key, which everybody has, as if it were the secret of HS256."""

    def make(issuer: Issuer) -> bytes:
        signing = _signing(issuer, alg="HS256")
        return signing + b"." + b64(hmac.digest(secret(issuer.key), signing, hashlib.sha256))

    return make


def _signing(issuer: Issuer, **header: object) -> bytes:
    made = json.dumps(issuer.header(**header)).encode()
    return b64(made) + b"." + b64(json.dumps(issuer.claims()).encode())


def _own_key(issuer: Issuer, **header: Any) -> bytes:  # noqa: ANN401 - any JSON
    return issuer.token(header=header, key=ECKey.generate_key("P-256"))


def _embedded(issuer: Issuer) -> bytes:
    """CVE-2018-0114: the token brings the key that it is to be verified with."""
    key = ECKey.generate_key("P-256")
    return issuer.token(header={"jwk": key.as_dict(private=False)}, key=key)


def _altered(change: Callable[[list[bytes]], None]) -> Forge:
    def make(issuer: Issuer) -> bytes:
        parts = issuer.token().split(b".")
        change(parts)
        return b".".join(parts)

    return make


def _replace(place: int, content: Callable[[Issuer], bytes]) -> Forge:
    def make(issuer: Issuer) -> bytes:
        parts = issuer.token().split(b".")
        parts[place] = content(issuer)
        return b".".join(parts)

    return make


def _twice(place: str) -> Forge:
    """Two parsers could take one member each."""

    def make(issuer: Issuer) -> bytes:
        header, claims = json.dumps(issuer.header()), json.dumps(issuer.claims())
        if place == "header":
            header = header.replace("{", '{"alg": "none", ', 1)
        else:
            claims = claims.replace("{", '{"sub": "somebody-else", ', 1)
        return signed(header.encode(), claims.encode(), issuer.key)

    return make


def _raw_claims(text: str) -> Forge:
    def make(issuer: Issuer) -> bytes:
        claims = json.dumps(issuer.claims()).replace("}", f", {text}}}")
        claims = claims.replace(f'"{text.split(chr(34))[1]}": ', '"was": ', 1)
        return signed(json.dumps(issuer.header()).encode(), claims.encode(), issuer.key)

    return make


def _der(issuer: Issuer) -> bytes:
    assert issuer.key.private_key is not None
    signing = _signing(issuer)
    return signing + b"." + b64(issuer.key.private_key.sign(signing, ECDSA(SHA256())))


def _flipped(parts: list[bytes]) -> None:
    parts[2] = (b"B" if parts[2][:1] == b"A" else b"A") + parts[2][1:]


def _stray_bits(parts: list[bytes]) -> None:
    """64 bytes leave four bits of the last letter unused: sixteen spellings of one signature."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(parts[2][-1])
    parts[2] = parts[2][:-1] + alphabet[last + 1 : last + 2]


FORGED: list[tuple[str, str, Forge]] = [
    ("nothing at all", "not_three_parts", lambda _: b""),
    ("an opaque token", "not_three_parts", lambda _: b"wrt_9d3f7a51c0"),
    ("alg none, no signature", "not_base64url", _unsigned("none")),
    ("alg nOnE, no signature", "not_base64url", _unsigned("nOnE")),
    ("alg none, a good signature", "algorithm", _header(alg="none")),
    (
        "HS256 with the public key as PEM",
        "algorithm",
        _by_hmac(lambda key: key.as_pem(private=False)),
    ),
    (
        "HS256 with the public key as JSON",
        "algorithm",
        _by_hmac(lambda key: json.dumps(key.as_dict(private=False)).encode()),
    ),
    ("RS256 for a key that is none", "algorithm", _header(alg="RS256")),
    ("ES384 for a P-256 key", "algorithm", _header(alg="ES384")),
    ("alg in lower case", "algorithm", _header(alg="es256")),
    ("alg is missing", "header_member_missing", _header(alg=None)),
    ("alg is a list", "header_member_missing", _header(alg=["ES256"])),
    ("a key that nobody knows", "key_unknown", lambda i: _own_key(i, kid="a" * 43)),
    ("kid is a path", "key_id_refused", _header(kid="../../../../dev/null")),
    ("kid is SQL", "key_id_refused", _header(kid="x' UNION SELECT 'secret")),
    ("kid of 65 characters", "key_id_refused", _header(kid="a" * 65)),
    ("kid is missing", "key_id_refused", _header(kid=None)),
    ("kid is a number", "key_id_refused", _header(kid=7)),
    ("a key of its own in jwk", "header_member_refused", _embedded),
    ("jku", "header_member_refused", _header(jku="https://evil.example/jwks.json")),
    ("x5u", "header_member_refused", _header(x5u="https://evil.example/cert.pem")),
    ("x5c", "header_member_refused", _header(x5c=["MIIB"])),
    ("crit", "header_member_refused", _header(crit=["exp"], exp=1)),
    ("b64 false", "header_member_refused", _header(b64=False)),
    ("zip", "header_member_refused", _header(zip="DEF")),
    ("an ID token", "type", _header(typ="JWT")),
    ("typ is missing", "header_member_missing", _header(typ=None)),
    ("alg twice", "header_not_json", _twice("header")),
    ("sub twice", "claims_not_json", _twice("claims")),
    ("two parts", "not_three_parts", _altered(lambda parts: parts.__delitem__(2))),
    ("four parts", "not_three_parts", _altered(lambda parts: parts.append(b"e30"))),
    ("five parts, as if encrypted", "not_three_parts", lambda _: b"e30.e30.e30.e30.e30"),
    ("larger than 8 KiB", "too_large", _claim(padding="x" * 8_192)),
    ("header is a list", "header_no_object", _replace(0, lambda _: b64(b"[]"))),
    ("claims are no JSON", "claims_not_json", _replace(1, lambda _: b64(b"{'sub': 1}"))),
    ("claims are not UTF-8", "claims_not_json", _replace(1, lambda _: b64(b'{"sub": "\xff"}'))),
    ("padding", "not_base64url", _altered(lambda parts: parts.append(parts.pop() + b"=="))),
    ("a line break", "not_base64url", _altered(lambda parts: parts.append(parts.pop() + b"\n"))),
    ("another spelling of the signature", "not_canonical", _altered(_stray_bits)),
    ("another key under our kid", "signature", _own_key),
    ("one bit of the signature", "signature", _altered(_flipped)),
    ("a signature of zeros", "signature", _replace(2, lambda _: b64(bytes(64)))),
    ("a signature in DER", "signature", _der),
    (
        "claims changed afterwards",
        "signature",
        _replace(1, lambda i: b64(json.dumps(i.claims(roles=["admin"])).encode())),
    ),
    ("expired", "expired", _later(iat=-931, exp=-31)),
    ("not valid yet", "not_yet_valid", _later(nbf=31)),
    ("issued in the future", "not_yet_valid", _later(iat=31, exp=600)),
    ("good for a week", "lifetime", _later(exp=SEVEN_DAYS)),
    ("expires before it was issued", "lifetime", _later(iat=10, exp=5)),
    ("exp is missing", "exp_missing", _claim(exp=None)),
    ("exp is a text", "exp_missing", _claim(exp="4102444800")),
    ("exp is true", "exp_missing", _claim(exp=True)),
    ("exp is beyond numbers", "exp_missing", _raw_claims('"exp": 1e999999')),
    ("exp is NaN", "claims_not_json", _raw_claims('"exp": NaN')),
    ("iat is missing", "iat_missing", _claim(iat=None)),
    ("iss of somebody else", "issuer", _claim(iss="https://accounts.example.evil")),
    ("iss is missing", "issuer", _claim(iss=None)),
    ("aud of somebody else", "audience", _claim(aud="bank")),
    ("aud is missing", "audience", _claim(aud=None)),
    ("aud is a part of ours", "audience", _claim(aud=["way", "bill"])),
    ("sub is missing", "subject", _claim(sub=None)),
    ("sub is empty", "subject", _claim(sub="")),
    ("sub is a number", "subject", _claim(sub=7)),
    ("sub of 129 characters", "subject", _claim(sub="x" * 129)),
    ("sub breaks a header's line", "subject", _claim(sub="a\r\nX-User-Roles: admin")),
]
"""Name, reason, how it is made."""
