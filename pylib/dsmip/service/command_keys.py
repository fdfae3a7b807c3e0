# SPDX-License-Identifier: GPL-2.0-only
"""``dsmip keys``: make, sign, revoke, check and show secrets, keys and certificates."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ..ikev2.signatures import KeyKind, PrivateKey, generate_key
from . import credentials as c
from . import files, printable
from .authority import (
    CA_DAYS,
    CERTIFICATE_DAYS,
    CRL_DAYS,
    DEFAULT_FOLDER,
    Authority,
    self_signed,
)
from .credentials import CredentialError, Material
from .printable import Frame, PrintableError, QrMissing
from .terminal import (
    CommandError,
    absolute,
    draw,
    password,
    say,
    secret_input,
    show_json,
    warn,
    write_svg,
)

_PSK: Final = "psk"
_FORMS: Final = ("pem", "der", "hex", "base64")


# --- arguments -------------------------------------------------------------------


def arguments(parser: argparse.ArgumentParser) -> None:
    """Say what may stand behind ``dsmip keys``."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
        added.add_argument("--json", action="store_true", help="what was done, as a document")
        added.add_argument("--force", action="store_true", help="write over files that are there")
        added.add_argument(
            "--directory",
            default=DEFAULT_FOLDER,
            help=f"of keys, certificates and the authority, default {DEFAULT_FOLDER}",
        )
        return added

    _generate_arguments(action("generate", "a shared secret, a key pair, or an authority"))
    _issue_arguments(action("issue", "a certificate, by the authority of this folder"))
    revoke = action("revoke", "certificates; without a name, renew the revocation list")
    revoke.add_argument("what", nargs="*", help="an identity, or a serial number")
    revoke.add_argument("--days", type=_days, default=CRL_DAYS, help=f"default {CRL_DAYS}")
    bring = action("import", "a secret, or a key with its certificates; it is checked first")
    bring.add_argument("file", nargs="*", help='PEM, DER, PKCS #12, or printed text; "-" reads it')
    bring.add_argument("--identity", help="whose it is: it names the files, and is checked")
    bring.add_argument("--authority", action="append", default=[], metavar="FILE")
    bring.add_argument("--password-file", metavar="FILE", help="opens an encrypted key")
    bring.add_argument("--check", action="store_true", help="check only, write nothing")
    bring.add_argument("--accept-weak", action="store_true", help="take a weak secret")
    give = action("export", "what a file holds, without secrets unless --secret")
    give.add_argument("file", help="of a key, a certificate or a secret")
    give.add_argument("--secret", action="store_true", help="the secret itself")
    give.add_argument("--format", choices=_FORMS, help="default PEM; for a secret as in psk =")
    give.add_argument("--output", metavar="FILE", help="instead of the terminal")
    give.add_argument("--password-file", metavar="FILE", help="opens an encrypted key")
    _print_arguments(give)


def _generate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("type", nargs="?", choices=(_PSK, *c.KINDS), help="default psk")
    parser.add_argument("--ca", action="store_true", help="an authority of your own")
    parser.add_argument("--name", default="dsmip authority", help="of the authority")
    parser.add_argument(
        "--permit",
        action="append",
        default=[],
        metavar="NAME",
        help="the authority may issue below this domain, @domain or network only",
    )
    parser.add_argument("--identity", help="whose key it is")
    parser.add_argument("--output", metavar="FILE", help="of the secret or private key")
    parser.add_argument("--request", metavar="FILE", help="write a signing request too")
    parser.add_argument("--self-signed", metavar="FILE", help="write a certificate too")
    parser.add_argument("--days", type=_days, help="how long the certificate is valid")
    parser.add_argument("--format", choices=("hex", "base64url"), default="hex", help="of a psk")
    _print_arguments(parser)


def _issue_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("identity", help="a domain name, user@realm, an address, or dn:...")
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        metavar="NAME",
        help="another name that it is for, such as the domain of a home agent",
    )
    parser.add_argument("--request", metavar="FILE", help="for the key of this signing request")
    parser.add_argument("--type", choices=c.KINDS, default=KeyKind.P256.value, help="of the key")
    parser.add_argument("--output", metavar="FILE", help="of the certificate")
    parser.add_argument(
        "--days", type=_days, default=CERTIFICATE_DAYS, help=f"default {CERTIFICATE_DAYS}"
    )


def _print_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--print", action="store_true", help="in groups that detect typing errors")
    parser.add_argument("--qr", action="store_true", help="as a QR code on the terminal")
    parser.add_argument("--svg", metavar="FILE", help="as a QR code in a file")


def _days(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 36500:
        raise argparse.ArgumentTypeError("1 to 36500 days")
    return value


# --- running ---------------------------------------------------------------------


def run(options: argparse.Namespace) -> int:
    """Do it. Raises ``CommandError``."""
    actions: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
        "generate": _generate,
        "issue": _issue,
        "revoke": _revoke,
        "import": _import,
        "export": _export,
    }
    try:
        document = actions[options.action](options)
    except (CredentialError, files.FileError, PrintableError, QrMissing) as error:
        raise CommandError(str(error)) from None
    if options.json:
        show_json(document)
    return 0


def _base(options: argparse.Namespace) -> Path:
    files.folder(options.directory)
    return Path(options.directory, c.file_name(options.identity))


def _generate(options: argparse.Namespace) -> dict[str, Any]:
    if options.ca:
        return _generate_ca(options)
    if options.type in (None, _PSK):
        return _generate_secret(options)
    if options.identity is None and options.output is None:
        raise CommandError("whose key? give --identity, or --output FILE")
    if options.identity is None and (options.request or options.self_signed):
        raise CommandError("a request or certificate needs --identity")
    key = generate_key(KeyKind(options.type))
    target = (
        Path(options.output)
        if options.output
        else _base(options).with_name(c.file_name(options.identity) + ".key")
    )
    public = target.with_name(target.name.removesuffix(".key") + ".pub")
    files.write(target, key.pem(), files.SECRET, options.force)
    files.write(public, key.public.pem(), files.PUBLIC, options.force)
    made = {"private_key": str(target), "public_key": str(public)}
    made |= _generate_around(options, key)
    say(options, *(f"{name.replace('_', ' ')}: {path}" for name, path in made.items()))
    say(options, f"fingerprint: {key.public.fingerprint}")
    _show_frame(options, c.frame_of(Material(key=key), secret=True))
    return made | {"fingerprint": key.public.fingerprint}


def _generate_around(options: argparse.Namespace, key: PrivateKey) -> dict[str, str]:
    made: dict[str, str] = {}
    if options.request:
        identity = c.identity_of(options.identity)
        request = c.request_pem(key, identity)
        files.write(options.request, request, files.PUBLIC, options.force)
        made["request"] = options.request
    if options.self_signed:
        identity = c.identity_of(options.identity)
        days = options.days or CERTIFICATE_DAYS
        certificate = self_signed(key, identity, time.time(), days)
        files.write(options.self_signed, certificate.pem(), files.PUBLIC, options.force)
        made["certificate"] = options.self_signed
    return made


def _generate_ca(options: argparse.Namespace) -> dict[str, Any]:
    if options.type == _PSK:
        raise CommandError("an authority has a key pair: ecdsa-p256 or ed25519")
    kind = KeyKind(options.type or KeyKind.P256.value)
    made = Authority.create(
        options.directory,
        options.name,
        time.time(),
        options.days or CA_DAYS,
        kind,
        options.permit,
        options.force,
    )
    until = c.date(made.certificate.not_after)
    say(
        options,
        f"authority {made.certificate} in {made.folder}, until {until}",
        "ca.crt goes to every router and home agent, ca.crl too;",
        "ca.key stays here, and a copy of it in a safe place.",
    )
    return {"directory": str(made.folder), "name": str(made.certificate), "until": until}


def _generate_secret(options: argparse.Namespace) -> dict[str, Any]:
    if options.request or options.self_signed:
        raise CommandError("a request or certificate needs a key pair: ecdsa-p256 or ed25519")
    secret = c.new_secret(text=options.format == "base64url")
    text = c.secret_text(secret)
    made: dict[str, Any] = {"bits": 256}
    if options.output:
        files.write(options.output, text.encode() + b"\n", files.SECRET, options.force)
        made["output"] = options.output
        say(options, f"shared secret: {options.output}")
    else:
        made["secret"] = text
        say(options, text)
    _show_frame(options, Frame(printable.Kind.SECRET, c.FORMAT_VERSION, secret))
    return made


def _issue(options: argparse.Namespace) -> dict[str, Any]:
    now = time.time()
    identity = c.identity_of(options.identity)
    authority = Authority.load(options.directory)
    base = _base(options)
    target = Path(options.output) if options.output else base.with_name(base.name + ".crt")
    private = base.with_name(base.name + ".key")
    key = None
    if options.request:
        request = c.inspect(files.read(options.request)).request
        if request is None:
            raise CommandError(f"{options.request} is no signing request")
        public = c.requested_key(request)
    else:
        key = generate_key(KeyKind(options.type))
        public = key.public
    for path in (target,) if key is None else (target, private):
        if path.exists() and not options.force:
            raise CommandError(f"{path} is there already: --force writes over it")
    also = [c.identity_of(name) for name in options.also]
    certificate = authority.issue(identity, public, now, options.days, also)
    made = {}
    if key is not None:
        files.write(private, key.pem(), files.SECRET, options.force)
        made["private_key"] = str(private)
    files.write(target, certificate.pem(), files.PUBLIC, options.force)
    made |= {"certificate": str(target), "authority": str(authority.folder / "ca.crt")}
    say(options, *(f"{name.replace('_', ' ')}: {path}" for name, path in made.items()))
    say(options, f"valid until {c.date(certificate.not_after)}, serial {certificate.serial:x}")
    return made | {"serial": f"{certificate.serial:x}", "until": c.date(certificate.not_after)}


def _revoke(options: argparse.Namespace) -> dict[str, Any]:
    now = time.time()
    authority = Authority.load(options.directory)
    revoked = authority.revoke(options.what, now, options.days)
    target = authority.folder / "ca.crl"
    for one in revoked:
        say(options, f"revoked: {one}, serial {one.serial:x}")
    until = c.date(now + options.days * c.DAY)
    say(options, f"{target} is good until {until}; all others need a copy")
    return {
        "revoked": [f"{one.serial:x}" for one in revoked],
        "list": str(target),
        "until": until,
    }


def _import(options: argparse.Namespace) -> dict[str, Any]:
    now = time.time()
    material = Material()
    word = password(options.password_file)
    for path in options.file or ["-"]:
        data = secret_input(None, "the key").encode() if path == "-" else files.read(path)
        material = material.merged(c.inspect(data, word))
    identity = c.identity_of(options.identity) if options.identity else None
    authorities = [
        one for path in options.authority for one in c.inspect(files.read(path)).certificates
    ]
    found = c.judge(material, now, identity, authorities)
    faults = [text for text in found.faults if not (options.accept_weak and "is weak" in text)]
    say(options, *c.described(material, now))
    warn(found.warnings)
    if faults:
        raise CommandError("; ".join(faults))
    document: dict[str, Any] = {"warnings": list(found.warnings), "files": {}}
    if options.check:
        return document
    if options.identity is None:
        raise CommandError("whose is it? give --identity, or --check to check only")
    document["files"] = _write_material(options, material)
    say(options, *_advice(document["files"]))
    return document


def _write_material(options: argparse.Namespace, material: Material) -> dict[str, str]:
    base = _base(options)
    chain = material.chain()
    anchors = [one for one in material.certificates if one.self_issued and one.extensions.authority]
    wanted: list[tuple[str, str, bytes, int]] = []
    if material.secret:
        text = c.secret_text(material.secret).encode() + b"\n"
        wanted.append(("secret", ".psk", text, files.SECRET))
    if material.key:
        wanted.append(("private_key", ".key", material.key.pem(), files.SECRET))
    if chain:
        text = c.pem(c.without_anchor(chain))
        wanted.append(("certificate", ".crt", text, files.PUBLIC))
    if anchors and anchors[0] not in chain[:1]:
        wanted.append(("authorities", ".ca.crt", c.pem(anchors), files.PUBLIC))
    if material.public and not material.key:
        wanted.append(("public_key", ".pub", material.public.pem(), files.PUBLIC))
    if material.revocations:
        from cryptography.hazmat.primitives.serialization import Encoding

        lists = b"".join(one.loaded.public_bytes(Encoding.PEM) for one in material.revocations)
        wanted.append(("revocation", ".crl", lists, files.PUBLIC))
    if not wanted:
        raise CommandError("there is nothing in it to keep")
    paths = {name: base.with_name(base.name + suffix) for name, suffix, _, _ in wanted}
    for path in paths.values():
        if path.exists() and not options.force:
            raise CommandError(f"{path} is there already: --force writes over it")
    for name, _suffix, data, mode in wanted:
        files.write(paths[name], data, mode, options.force)
    return {name: absolute(str(path)) for name, path in paths.items()}


def _advice(written: dict[str, str]) -> list[str]:
    listed = {"authorities", "revocation"}
    ike = [
        f'{name} = ["{path}"]' if name in listed else f'{name} = "{path}"'
        for name, path in written.items()
        if name not in ("secret", "public_key")
    ]
    lines = [f"{name.replace('_', ' ')}: {path}" for name, path in written.items()]
    return [*lines, "", "In the configuration:", "[ike]", *ike] if ike else lines


# --- showing ---------------------------------------------------------------------


def _show_frame(options: argparse.Namespace, frame: Frame) -> None:
    if options.print:
        say(options, *printable.lines(frame))
    if options.qr:
        say(options, *draw(frame))
    if options.svg:
        write_svg(frame, options.svg, options.force)


def _export(options: argparse.Namespace) -> dict[str, Any]:
    material = c.inspect(files.read(options.file), password(options.password_file))
    document: dict[str, Any] = {"holds": c.described(material, time.time())}
    if options.print or options.qr or options.svg:
        frame = c.frame_of(material, options.secret)
        _show_frame(options, frame)
        return document | {"text": printable.text(frame)}
    data = _exported(options, material)
    if options.output:
        mode = files.SECRET if options.secret else files.PUBLIC
        files.write(options.output, data, mode, options.force)
        say(options, *document["holds"], f"written to {options.output}")
        return document | {"output": options.output}
    if options.format == "der":
        raise CommandError("DER is not for a terminal: give --output FILE")
    say(options, data.decode().rstrip("\n"))
    return document | {"text": data.decode()}


def _exported(options: argparse.Namespace, material: Material) -> bytes:
    if material.secret:
        if not options.secret:
            raise CommandError("a shared secret is nothing but secret: --secret shows it")
        return _encoded(options.format, material.secret, c.secret_text(material.secret))
    if material.certificates and not options.secret:
        return _encoded(options.format, material.certificates[0].der, c.pem(material.certificates))
    if options.secret:
        if material.key is None:
            raise CommandError(f"{options.file} has no private key")
        return _encoded(options.format, c.private_der(material.key), material.key.pem())
    public = c.public_of(material)
    if public is None:
        raise CommandError(f"{options.file} has neither key nor certificate")
    return _encoded(options.format, public.spki, public.pem())


def _encoded(form: str | None, octets: bytes, plain: str | bytes) -> bytes:
    if form == "der":
        return octets
    if form == "hex":
        return b"0x" + octets.hex().encode() + b"\n"
    if form == "base64":
        from base64 import b64encode

        # As charon and libreswan write it, so that it is not taken for the secret itself.
        return b"0s" + b64encode(octets) + b"\n"
    return plain.encode() + b"\n" if isinstance(plain, str) else plain
