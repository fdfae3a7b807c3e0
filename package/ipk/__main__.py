# SPDX-License-Identifier: GPL-2.0-only
"""``make ipk``: the packages of this feed as .ipk files, with index and checksums.

Contents, modes, dependencies and scripts come from the very Makefiles that
OpenWrt's build system reads, evaluated by make with stand-ins for its include
files. The same sources make the same octets. Kernel modules are not built here:
each fits one kernel, and is made with that kernel's SDK.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
FEED = HERE.parent
ROOT = FEED.parent
#: Release 24.10, the last one with opkg, has this Python; byte code fits no other.
PYTHON = (3, 11)
PACKAGES = (
    *("python3-dsmip", "dsmip", "dsmip-home-agent", "dsmip-diag"),
    *("luci-app-dsmip", "luci-proto-dsmip"),
)
FALLBACK_EPOCH = 1735689600
_WORDS = ("FORCE", "OUT", "TOPDIR")


class Fault(Exception):
    """The packages cannot be built; the text says why."""


@dataclass(frozen=True, slots=True)
class Package:
    """What a package's Makefile says of it."""

    name: str
    version: str
    fields: dict[str, str]
    texts: dict[str, str]

    @property
    def architecture(self) -> str:
        return self.fields["PKGARCH"] or "all"

    @property
    def filename(self) -> str:
        return f"{self.name}_{self.version}_{self.architecture}.ipk"

    @property
    def depends(self) -> list[str]:
        """Return the packages it needs: ``+name``, conditions and symbols left out."""
        words = self.fields["DEPENDS"].split()
        return [
            "libc",
            *(word.lstrip("+") for word in words if "@" not in word and ":" not in word),
        ]


def epoch() -> int:
    """Return the time that all files have: SOURCE_DATE_EPOCH, or that of the last commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(done.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return FALLBACK_EPOCH


def python() -> str:
    """Return an interpreter whose byte code the release understands. Raises ``Fault``."""
    if sys.version_info[:2] == PYTHON:
        return sys.executable
    name = ".".join(map(str, PYTHON))
    found = shutil.which(f"python{name}")
    if found is None:
        raise Fault(f"python{name} is needed: byte code is made for OpenWrt 24.10's interpreter")
    return found


def read_makefile(folder: str, out: Path, interpreter: str) -> Package:
    """Evaluate a package's Makefile and run its install recipe."""
    (out / "meta").mkdir(parents=True, exist_ok=True)
    place = ROOT / "luci-app" if folder.startswith("luci-") else FEED
    compiler = f"{interpreter} {HERE / 'bytecode.py'}"
    command = ["make", "-s", "-C", str(place / folder), f"install-{folder}"]
    given = {"TOPDIR": HERE / "stub", "OUT": out, "IPK_PYTHON": compiler}
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS")) and name not in _WORDS
    }
    done = subprocess.run(
        [*command, *(f"{name}={value}" for name, value in given.items())],
        capture_output=True,
        text=True,
        env=environment | {"LC_ALL": "C"},
        check=False,
    )
    if done.returncode or done.stderr:
        raise Fault(f"{folder}: {done.stderr or done.stdout}")

    def said(field: str) -> str:
        return (out / "meta" / f"{folder}.{field}").read_text().strip("\n")

    fields = {
        name: said(name)
        for name in (
            *("SECTION", "TITLE", "DEPENDS", "PKGARCH", "PROVIDES", "CONFLICTS", "FILE_MODES"),
            *("PKG_NAME", "PKG_VERSION", "PKG_RELEASE", "PKG_LICENSE", "PKG_MAINTAINER"),
        )
    }
    kinds = ("description", "conffiles", "preinst", "postinst", "prerm", "postrm")
    texts = {kind: said(kind) for kind in kinds}
    version = f"{fields['PKG_VERSION']}-r{fields['PKG_RELEASE']}"
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*(_(alpha|beta|rc)[0-9]+)?-r[0-9]+", version):
        raise Fault(f"{folder}: apk would not take version {version}")
    return Package(folder, version, fields, texts)


def modes_of(package: Package, root: Path) -> dict[str, int]:
    """Return the modes that FILE_MODES gives. Raises ``Fault`` for a file that is not there."""
    found = {}
    for entry in package.fields["FILE_MODES"].split():
        name, user, group, mode = entry.split(":")
        if (user, group) != ("root", "root") or not (root / name.lstrip("/")).exists():
            raise Fault(f"{package.name}: cannot give {entry}")
        found[name.lstrip("/")] = int(mode, 8)
    return found


def tarball(members: list[tuple[str, bytes | None, int]], at: int) -> bytes:
    """Return a tar archive; a member without content is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content, mode in members:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = mode, at
            info.uid = info.gid = 0
            if content is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def compressed(data: bytes) -> bytes:
    """Return data as gzip writes it without name and time."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0, compresslevel=9) as file:
        file.write(data)
    return buffer.getvalue()


def data_members(package: Package, root: Path) -> list[tuple[str, bytes | None, int]]:
    """Return the files of a package, sorted."""
    modes = modes_of(package, root)
    members: list[tuple[str, bytes | None, int]] = [("./", None, 0o755)]
    for path in sorted(root.rglob("*"), key=lambda one: one.relative_to(root).as_posix()):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            raise Fault(f"{package.name}: {name} is a symbolic link")
        if path.is_dir():
            members.append((f"./{name}/", None, 0o755))
            continue
        executable = 0o755 if path.stat().st_mode & 0o100 else 0o644
        members.append((f"./{name}", path.read_bytes(), modes.get(name, executable)))
    return members


def control(package: Package, installed_size: int, at: int) -> str:
    """Return the control file; the description comes last."""
    fields = package.fields
    description = [line.strip() for line in package.texts["description"].splitlines()]
    entries = {
        "Package": package.name,
        "Version": package.version,
        "Depends": ", ".join(package.depends),
        "Provides": ", ".join(fields["PROVIDES"].split()),
        "Conflicts": ", ".join(fields["CONFLICTS"].split()),
        "Source": f"feeds/dsmip/{package.name}",
        "SourceName": fields["PKG_NAME"],
        "License": fields["PKG_LICENSE"],
        "LicenseFiles": "LICENSE",
        "Section": fields["SECTION"],
        "SourceDateEpoch": str(at),
        "Maintainer": fields["PKG_MAINTAINER"],
        "Architecture": package.architecture,
        "Installed-Size": str(installed_size),
        "Description": "\n ".join(line for line in description if line),
    }
    return "".join(f"{name}: {value}\n" for name, value in entries.items() if value.strip())


def script(name: str) -> bytes:
    """Return a control script that does what OpenWrt does for every package."""
    return (
        "#!/bin/sh\n"
        '[ "${IPKG_NO_SCRIPT}" = "1" ] && exit 0\n'
        "[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0\n"
        ". ${IPKG_INSTROOT}/lib/functions.sh\n"
        f"default_{name} $0 $@\n"
    ).encode()


def control_members(
    package: Package, root: Path, size: int, at: int
) -> list[tuple[str, bytes | None, int]]:
    """Return the files that tell opkg of a package."""
    found: dict[str, tuple[bytes, int]] = {
        "control": (control(package, size, at).encode(), 0o644),
        "postinst": (script("postinst"), 0o755),
        "prerm": (script("prerm"), 0o755),
    }
    conffiles = []
    for name in package.texts["conffiles"].split():
        path = root / name.lstrip("/")
        # A folder that is not shipped is the operator's: keep.d tells sysupgrade of it.
        if path.is_file():
            conffiles.append(name)
        elif path.is_dir():
            conffiles += [f"/{f.relative_to(root)}" for f in sorted(path.rglob("*")) if f.is_file()]
    if conffiles:
        found["conffiles"] = ("".join(f"{name}\n" for name in sorted(conffiles)).encode(), 0o644)
    for name in ("postinst", "prerm"):
        if package.texts[name]:
            found[f"{name}-pkg"] = (package.texts[name].encode() + b"\n", 0o755)
    for name in ("preinst", "postrm"):
        if package.texts[name]:
            found[name] = (package.texts[name].encode() + b"\n", 0o755)
    members: list[tuple[str, bytes | None, int]] = [("./", None, 0o755)]
    return members + [(f"./{name}", *found[name]) for name in sorted(found)]


def build(package: Package, root: Path, at: int) -> tuple[bytes, str]:
    """Return the octets of an .ipk and its stanza for the index."""
    data = tarball(data_members(package, root), at)
    meta = control_members(package, root, len(data), at)
    parts: list[tuple[str, bytes | None, int]] = [
        ("./debian-binary", b"2.0\n", 0o644),
        ("./data.tar.gz", compressed(data), 0o644),
        ("./control.tar.gz", compressed(tarball(meta, at)), 0o644),
    ]
    octets = compressed(tarball(parts, at))
    told = (
        f"Filename: {package.filename}\nSize: {len(octets)}\n"
        f"SHA256sum: {hashlib.sha256(octets).hexdigest()}\n"
    )
    stanza = control(package, len(data), at).replace("Description:", f"{told}Description:", 1)
    return octets, stanza


def make(out: Path) -> list[Path]:
    """Build everything into a folder, index and checksums included; return the packages."""
    work = out / ".work"
    shutil.rmtree(out, ignore_errors=True)
    work.mkdir(parents=True)
    at, interpreter = epoch(), python()
    made: list[Path] = []
    index: list[str] = []
    for name in PACKAGES:
        package = read_makefile(name, work, interpreter)
        octets, stanza = build(package, work / "root" / name, at)
        target = out / package.filename
        target.write_bytes(octets)
        made.append(target)
        index.append(stanza)
    shutil.rmtree(work)
    text = "\n".join(index).encode() + b"\n"
    (out / "Packages").write_bytes(text)
    (out / "Packages.gz").write_bytes(compressed(text))
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted([*made, out / "Packages", out / "Packages.gz"])
    ]
    (out / "sha256sums").write_text("".join(lines))
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "ipk")
    out = parser.parse_args().out.absolute()
    try:
        made = make(out)
    except Fault as fault:
        print(f"ipk: {fault}", file=sys.stderr)
        return 1
    for file in made:
        print(f"{file.stat().st_size:9,} {file.name}")
    print(f"index and checksums in {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
