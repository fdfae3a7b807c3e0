# SPDX-License-Identifier: GPL-2.0-only
"""The kernels that the lab runs, and the module built for each.

``6.1`` is Debian 12's own, installed. ``6.12`` comes from Debian's security
archive and is unpacked, not installed. ``stock`` is built from Debian's source
of 6.12 with what a stock OpenWrt image lacks left out; that takes a quarter of
an hour once, so nothing builds it unasked.

    python -m tests.lab.kernels 6.12            build the module, print its path
    python -m tests.lab.kernels 6.12 --lint     with W=1 and sparse, fail on a warning
    python -m tests.lab.kernels stock --kernel  build the kernel itself
"""

from __future__ import annotations

import argparse
import fcntl
import lzma
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "vm"
NAMES = ("6.1", "6.12", "stock")
#: In the order in which they are loaded.
BOOT_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "netfs",
    "fscache",
    "9pnet",
    "9pnet_virtio",
    "9p",
    "overlay",
)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel ready to boot: ``vmlinux``, what it loads, what modules build against."""

    name: str
    version: str
    vmlinux: Path
    initramfs: Path
    modules: Path
    headers: Path


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time prepare things."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: failed\n{done.stdout}")
    return done.stdout


def _unpack_image(image: Path, target: Path) -> None:
    """Write the ELF kernel inside a bzImage: the guest starts it directly."""
    data = image.read_bytes()
    for magic, unpack in ((b"\xfd7zXZ\0", _unxz), (b"\x28\xb5\x2f\xfd", _unzstd)):
        at = data.find(magic, 0x4000)
        while at >= 0:
            kernel = unpack(data[at:])
            if kernel.startswith(b"\x7fELF"):
                target.write_bytes(kernel)
                return
            at = data.find(magic, at + 1)
    raise SystemExit(f"{image}: no compressed kernel found in it")


def _unxz(data: bytes) -> bytes:
    try:
        return lzma.LZMADecompressor().decompress(data)
    except lzma.LZMAError:
        return b""


def _unzstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=False).stdout


_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
for module in {modules}; do insmod /mod/$module.ko; done
option=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o $option,cache=loose,ro host /lower
mount -t tmpfs tmpfs /upper; mkdir -p /upper/u /upper/w
mount -t overlay -o lowerdir=/lower,upperdir=/upper/u,workdir=/upper/w overlay /new
mkdir -p /new/dsmip-share
mount -t 9p -o $option,cache=none share /new/dsmip-share
umount /proc /sys
exec switch_root /new /dsmip-share/init
"""


def _make_initramfs(target: Path, modules: Path) -> None:
    tree = target.with_suffix(".d")
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "mod", "proc", "sys", "dev", "lower", "upper", "new"):
        (tree / name).mkdir(parents=True)
    shutil.copy("/usr/bin/busybox", tree / "bin" / "busybox")
    loaded = []
    for name in BOOT_MODULES:
        found = next(iter(modules.rglob(f"{name}.ko*")), None)
        if found is None:
            continue
        data = found.read_bytes()
        if found.suffix == ".xz":
            data = lzma.decompress(data)
        (tree / "mod" / f"{name}.ko").write_bytes(data)
        loaded.append(name)
    init = tree / "init"
    init.write_text(_INIT.format(modules=" ".join(loaded)))
    init.chmod(0o755)
    names = "\n".join(sorted(str(path.relative_to(tree)) for path in tree.rglob("*")))
    with target.open("wb") as out:
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            cwd=tree,
            input=names.encode(),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        subprocess.run(["gzip", "-1"], input=archive, stdout=out, check=True)
    shutil.rmtree(tree)


def _debian_installed() -> tuple[str, Path, Path, Path]:
    found = sorted(Path("/boot").glob("vmlinuz-6.1.*-amd64"))
    found = [image for image in found if Path(f"/lib/modules/{image.name[8:]}/build").exists()]
    if not found:
        raise SystemExit("linux-image-amd64 and linux-headers-amd64 are not installed: make setup")
    version = found[-1].name.removeprefix("vmlinuz-")
    modules = Path("/lib/modules") / version
    return version, found[-1], modules, modules / "build"


def _debian_unpacked() -> tuple[str, Path, Path, Path]:
    """Fetch and unpack the newest 6.12 that the archive has, once."""
    base = BUILD / "6.12"
    done = base / "version"
    if not done.exists():
        names = _run("apt-cache", "pkgnames", "linux-image-6.12.")
        versions = re.findall(r"^linux-image-(6\.12\.(\d+)\S*?\+deb12)-amd64$", names, re.M)
        if not versions:
            raise SystemExit("apt knows no linux-image-6.12.*+deb12-amd64: run apt-get update")
        version = max(versions, key=lambda found: int(found[1]))[0]
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir(parents=True)
        print(f"fetching Debian's kernel {version} (once)", flush=True)
        packages = [
            f"linux-image-{version}-amd64",
            f"linux-headers-{version}-amd64",
            f"linux-headers-{version}-common",
            f"linux-kbuild-{version}",
        ]
        _run("apt-get", "download", "-q", *packages, cwd=base)
        for package in base.glob("*.deb"):
            _run("dpkg", "-x", package, base)
            package.unlink()
        headers = base / "usr" / "src" / f"linux-headers-{version}-amd64"
        for name in ("Makefile", ".kernelvariables"):
            file = headers / name
            if file.exists():
                text = file.read_text()
                text = text.replace("/usr/src/", f"{base}/usr/src/")
                file.write_text(text.replace("/usr/lib/", f"{base}/usr/lib/"))
        # The headers' own link to the tools is absolute in the package.
        for link in (base / "usr" / "src").rglob("*"):
            if link.is_symlink() and os.readlink(link).startswith("/usr/"):
                to = os.readlink(link)
                link.unlink()
                link.symlink_to(f"{base}{to}")
        _run("depmod", "-b", base, f"{version}-amd64")
        done.write_text(f"{version}-amd64")
    version = done.read_text()
    return (
        version,
        base / "boot" / f"vmlinuz-{version}",
        base / "lib" / "modules" / version,
        base / "usr" / "src" / f"linux-headers-{version}",
    )


def stock_tree() -> Path:
    """Return where the stock-like kernel is built; the variable shares it between clones."""
    return Path(os.environ.get("DSMIP_STOCK_KERNEL", BUILD / "stock" / "linux"))


def build_stock() -> None:
    """Build Debian's 6.12 source with the configuration in ``stock.config``."""
    source = Path("/usr/src/linux-source-6.12.tar.xz")
    if not source.exists():
        raise SystemExit("apt-get install linux-source-6.12 bc bison flex libssl-dev libelf-dev")
    tree = stock_tree()
    if not (tree / "Makefile").exists():
        tree.mkdir(parents=True)
        _run("tar", "-xf", source, "-C", tree, "--strip-components=1")
    _run("make", "-s", "allnoconfig", cwd=tree)
    fragment = ROOT / "tests" / "lab" / "stock.config"
    _run(tree / "scripts" / "kconfig" / "merge_config.sh", "-m", ".config", fragment, cwd=tree)
    _run("make", "-s", "olddefconfig", cwd=tree)
    print("building the kernel, this takes a while", flush=True)
    _run("make", "-j2", "vmlinux", "modules", cwd=tree)
    _install_stock(tree)


def _install_stock(tree: Path) -> Path:
    """Let modprobe know what is built in, and find the rest; return where that stands."""
    version = (tree / "include" / "config" / "kernel.release").read_text().strip()
    target = tree / "installed"
    _run("make", "-s", "modules_install", f"INSTALL_MOD_PATH={target}", cwd=tree)
    return target / "lib" / "modules" / version


def prepare(name: str) -> Kernel:
    """Return the kernel, with everything that it needs made on first use."""
    with locked(BUILD / f"{name}.lock"):
        if name == "stock":
            tree = stock_tree()
            if not (tree / "vmlinux").exists():
                raise SystemExit("python -m tests.lab.kernels stock --kernel builds it first")
            modules = _install_stock(tree)
            version, vmlinux, headers = modules.name, tree / "vmlinux", tree
        else:
            known = _debian_installed if name == "6.1" else _debian_unpacked
            version, image, modules, headers = known()
            vmlinux = BUILD / f"vmlinux-{version}"
            if not vmlinux.exists():
                _unpack_image(image, vmlinux)
        initramfs = BUILD / f"initramfs-{version}.gz"
        if not initramfs.exists() or initramfs.stat().st_mtime < Path(__file__).stat().st_mtime:
            _make_initramfs(initramfs, modules)
    return Kernel(name, version, vmlinux, initramfs, modules, headers)


def build_module(kernel: Kernel, lint: bool = False) -> Path:
    """Build dsmip.ko for the kernel in a directory of its own; return its path.

    With ``lint`` everything is compiled anew with W=1 and looked at by sparse.
    Raises ``SystemExit`` with the compiler's words; any warning counts then.
    """
    target = BUILD.parent / "kmod" / (kernel.name + ("-lint" if lint else ""))
    with locked(target.with_name(f"{target.name}.lock")):
        if lint:
            shutil.rmtree(target, ignore_errors=True)
        for source in sorted((ROOT / "kmod").rglob("*")):
            if source.suffix not in {".c", ".h"} and source.name not in {"Kbuild", "Makefile"}:
                continue
            copy = target / source.relative_to(ROOT / "kmod")
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not copy.exists() or copy.read_bytes() != source.read_bytes():
                shutil.copy(source, copy)
        options = ["W=1", "C=2"] if lint else ["DEBUG=y"]
        jobs = f"-j{os.cpu_count() or 1}"
        words = _run("make", jobs, f"KDIR={kernel.headers}", *options, "modules", cwd=target)
        complaints = [line for line in words.splitlines() if re.search(r"warning:|error:", line)]
        # Debian builds its kernels with a compiler of another minor version.
        complaints = [line for line in complaints if "the compiler differs" not in line]
        if lint and complaints:
            raise SystemExit(f"dsmip.ko on {kernel.version}:\n" + "\n".join(complaints))
    return target / "dsmip.ko"


def main() -> None:
    parser = argparse.ArgumentParser(description="kernels of the lab and the module for them")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--lint", action="store_true", help="fail on any warning")
    parser.add_argument("--kernel", action="store_true", help="build the stock-like kernel")
    parser.add_argument("--headers", action="store_true", help="print what to build against")
    options = parser.parse_args()
    if options.kernel:
        if options.name != "stock":
            parser.error("only the stock-like kernel is built here")
        build_stock()
        return
    kernel = prepare(options.name)
    if options.headers:
        print(kernel.headers)
        return
    module = build_module(kernel, options.lint)
    print(f"{module}: built for {kernel.version}" + (", no warnings" if options.lint else ""))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
