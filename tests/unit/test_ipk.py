# SPDX-License-Identifier: GPL-2.0-only
"""The .ipk packages: the same each time, and what opkg and a router need is in them."""

from __future__ import annotations

import ast
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from dsmip import __version__

from package.ipk import __main__ as ipk

ROOT = Path(__file__).parents[2]
#: Modules that python3-light lacks, by the package that has them (guide of the feed
#: "packages", lang/python/python3/files); what dsmip imports of these it must name.
SPLIT = {
    "asyncio": "python3-asyncio",
    "logging": "python3-logging",
    "ssl": "python3-openssl",
    "hashlib": "python3-openssl",
    "cryptography": "python3-cryptography",
    "pyroute2": "python3-pyroute2",
    "ctypes": "python3-ctypes",
    "urllib": "python3-urllib",
    "email": "python3-email",
    "decimal": "python3-decimal",
    "multiprocessing": "python3-multiprocessing",
    "sqlite3": "python3-sqlite3",
    "unittest": "python3-unittest",
    "uuid": "python3-uuid",
    "xml": "python3-xml",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ipk") / "one"
    ipk.make(out)
    return out


class Opened:
    """A package as opkg sees it."""

    def __init__(self, file: Path) -> None:
        with gzip.open(file) as packed:
            outer = tarfile.open(fileobj=io.BytesIO(packed.read()))  # noqa: SIM115
        self.order = outer.getnames()
        self.data = self._inner(outer, "./data.tar.gz")
        self.meta = self._inner(outer, "./control.tar.gz")
        version = outer.extractfile("./debian-binary")
        assert version is not None
        assert version.read() == b"2.0\n"
        self.files = {one.name: one for one in self.data.getmembers() if one.isfile()}
        self.control: dict[str, str] = {}
        for line in self.text("control").splitlines():
            if not line.startswith(" "):
                name, _, value = line.partition(": ")
                self.control[name] = value

    @staticmethod
    def _inner(outer: tarfile.TarFile, name: str) -> tarfile.TarFile:
        found = outer.extractfile(name)
        assert found is not None
        return tarfile.open(fileobj=io.BytesIO(gzip.decompress(found.read())))

    def text(self, name: str) -> str:
        found = self.meta.extractfile(f"./{name}")
        assert found is not None
        return found.read().decode()

    def content(self, name: str) -> bytes:
        found = self.data.extractfile(f".{name}")
        assert found is not None
        return found.read()


@pytest.fixture(scope="module")
def packages(built: Path) -> dict[str, Opened]:
    return {name: Opened(next(built.glob(f"{name}_*.ipk"))) for name in ipk.PACKAGES}


def test_twice_makes_the_same_octets(built: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "package.ipk", "--out", str(tmp_path / "two")]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    first = {file.name: file.read_bytes() for file in built.iterdir()}
    second = {file.name: file.read_bytes() for file in (tmp_path / "two").iterdir()}
    assert first == second
    assert len(first) == len(ipk.PACKAGES) + 3


def test_order_and_owners(packages: dict[str, Opened]) -> None:
    for package in packages.values():
        assert package.order == ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
        for member in (*package.data.getmembers(), *package.meta.getmembers()):
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert member.name == "." or member.name.startswith("./")
        names = package.data.getnames()
        assert names == sorted(names)


def test_index_and_checksums(built: Path, packages: dict[str, Opened]) -> None:
    text = (built / "Packages").read_bytes()
    assert gzip.decompress((built / "Packages.gz").read_bytes()) == text
    stanzas = [s for s in text.decode().split("\n\n") if s.strip()]
    assert len(stanzas) == len(packages)
    for stanza in stanzas:
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        octets = (built / fields["Filename"]).read_bytes()
        assert int(fields["Size"]) == len(octets)
        assert fields["SHA256sum"] == hashlib.sha256(octets).hexdigest()
        control = packages[fields["Package"]].control
        assert {name: fields[name] for name in control} == control
    sums = subprocess.run(
        ["sha256sum", "--check", "--strict", "sha256sums"], cwd=built, capture_output=True
    )
    assert sums.returncode == 0


def test_control_fields(packages: dict[str, Opened]) -> None:
    for name, package in packages.items():
        control = package.control
        assert control["Package"] == name
        assert control["Version"] == f"{__version__}-r1"
        assert control["Architecture"] == "all"
        assert control["License"] == "GPL-2.0-only"
        size = sum(512 + -(-member.size // 512) * 512 for member in package.data.getmembers())
        assert size <= int(control["Installed-Size"]) <= size + 10240 + 512
        assert list(control)[-1] == "Description"
    assert packages["dsmip"].control["Depends"] == (
        "libc, python3-dsmip, python3-ubus, kmod-tun, kmod-ipsec, kmod-ipsec4, kmod-ipsec6"
    )
    assert packages["dsmip-home-agent"].control["Depends"] == "libc, dsmip"
    assert packages["dsmip-diag"].control["Depends"] == "libc, dsmip, scapy"
    for name in ("python3-dsmip", "dsmip", "dsmip-home-agent"):
        assert "scapy" not in packages[name].control["Depends"]


def test_nothing_hard_depends_on_the_module(packages: dict[str, Opened]) -> None:
    for package in packages.values():
        assert "kmod-dsmip" not in package.control["Depends"]


def test_files_and_modes(packages: dict[str, Opened]) -> None:
    assert {name: oct(one.mode) for name, one in packages["dsmip"].files.items()} == {
        "./etc/config/dsmip": "0o600",
        "./etc/hotplug.d/iface/90-dsmip": "0o644",
        "./etc/init.d/dsmip": "0o755",
        "./etc/uci-defaults/90-dsmip": "0o755",
        "./lib/netifd/proto/dsmip.sh": "0o755",
        "./lib/upgrade/keep.d/dsmip": "0o644",
        "./usr/bin/dsmip": "0o755",
        "./usr/sbin/dsmipd": "0o755",
        "./usr/share/rpcd/acl.d/dsmip.json": "0o644",
        "./usr/share/rpcd/ucode/luci.dsmip": "0o644",
    }
    (folder,) = {Path(name).parent.name for name in packages["dsmip-diag"].files}
    assert folder == "dsmip_diag"
    assert set(packages["dsmip-home-agent"].files) == {
        "./etc/sysctl.d/60-dsmip-home-agent.conf",
        "./etc/uci-defaults/91-dsmip-home-agent",
    }


def test_pages_are_whole(packages: dict[str, Opened]) -> None:
    """What luci.mk installs of the two, and that their rights are read at once."""
    for name in ("luci-app-dsmip", "luci-proto-dsmip"):
        source = ROOT / "luci-app" / name
        wanted = {
            f"./{to}{file.relative_to(source / part).as_posix()}"
            for part, to in (("htdocs", "www/"), ("root", ""))
            for file in (source / part).rglob("*")
            if file.is_file()
        }
        assert set(packages[name].files) == wanted
        assert {one.mode for one in packages[name].files.values()} == {0o644}
        assert packages[name].control["Depends"].startswith("libc, luci-base, dsmip")
        assert "rpcd reload" in packages[name].text("postinst-pkg")


def test_configuration_is_kept(packages: dict[str, Opened]) -> None:
    package = packages["dsmip"]
    assert package.text("conffiles") == "/etc/config/dsmip\n"
    assert package.content("/lib/upgrade/keep.d/dsmip") == b"/etc/dsmip/\n"
    assert b"option enabled '0'" in package.content("/etc/config/dsmip")


def test_scripts_do_what_openwrt_does(packages: dict[str, Opened]) -> None:
    for package in packages.values():
        assert "default_postinst $0 $@" in package.text("postinst")
        assert "default_prerm $0 $@" in package.text("prerm")
    own = packages["dsmip"].text("postinst-pkg")
    assert '[ -n "${IPKG_INSTROOT}" ] ||' in own
    for text in (own, packages["dsmip"].text("postinst")):
        subprocess.run(["busybox", "ash", "-n"], input=text, text=True, check=True)


def test_library_is_whole_and_runs(packages: dict[str, Opened], tmp_path: Path) -> None:
    """Unpacked into a scratch root, byte code alone answers the command line."""
    for name in ("python3-dsmip", "dsmip"):
        packages[name].data.extractall(tmp_path, filter="data")
    sources = {p.relative_to(ROOT / "pylib") for p in (ROOT / "pylib" / "dsmip").rglob("*.py")}
    site = next((tmp_path / "usr/lib").glob("python3.*")) / "site-packages"
    found = {p.relative_to(site) for p in site.rglob("*") if p.is_file()}
    assert found == {source.with_suffix(".pyc") for source in sources}
    interpreter = ipk.python()
    inherited = "import sys; print([p for p in sys.path if p.endswith('-packages')])"
    libraries = subprocess.run([sys.executable, "-c", inherited], capture_output=True, text=True)
    places = [str(site), *ast.literal_eval(libraries.stdout)]
    for program in ("usr/bin/dsmip", "usr/sbin/dsmipd"):
        shown = subprocess.run(
            [interpreter, "-I", "-c", f"import sys, runpy; sys.path[:0] = {places!r}; "
             f"sys.argv = ['x', '--version']; runpy.run_path({str(tmp_path / program)!r})"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert __version__ in shown.stdout, shown.stderr
    where = f"import sys; sys.path[:0] = {places!r}; import dsmip.cli; print(dsmip.cli.__file__)"
    shown = subprocess.run([interpreter, "-I", "-c", where], capture_output=True, text=True)
    assert shown.stdout.strip() == str(site / "dsmip/cli.pyc")


def test_dependencies_are_what_is_imported(packages: dict[str, Opened]) -> None:
    imported: set[str] = set()
    for file in (ROOT / "pylib" / "dsmip").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            imported |= {name.split(".")[0] for name in names}
    wanted = {package for module, package in SPLIT.items() if module in imported}
    depends = set(packages["python3-dsmip"].control["Depends"].split(", "))
    assert depends == wanted | {"libc", "python3-light"}


@pytest.mark.parametrize(
    "folder", sorted(p.parent.name for p in (ROOT / "package").glob("*/Makefile"))
)
def test_feed_finds_each_package(folder: str) -> None:
    """OpenWrt's scan: the literal call, at most five folders deep, without includes."""
    text = (ROOT / "package" / folder / "Makefile").read_text()
    kernel = folder.startswith("kmod-")
    assert ("call KernelPackage," if kernel else "call BuildPackage,") in text
    assert "PKG_VERSION" not in text
    if kernel:
        # It would change the ABI hash of the kernel: see the comment there.
        assert "KCONFIG:=" not in text


def test_nothing_else_is_taken_for_a_package() -> None:
    for file in ROOT.rglob("Makefile"):
        if file.relative_to(ROOT).parts[0] in ("package", ".venv", "build", "luci-app"):
            continue
        text = file.read_text()
        assert "call BuildPackage" not in text
        assert "call KernelPackage" not in text


def test_acl_names_what_the_plugin_has(packages: dict[str, Opened]) -> None:
    acl = json.loads(packages["dsmip"].content("/usr/share/rpcd/acl.d/dsmip.json"))
    plugin = packages["dsmip"].content("/usr/share/rpcd/ucode/luci.dsmip").decode()
    methods = plugin[plugin.index("const methods") :]
    for access in ("read", "write"):
        for method in acl["dsmip"][access]["ubus"]["luci.dsmip"]:
            assert f"\t{method}: {{" in methods


def test_another_python_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipk, "PYTHON", (3, 1))
    with pytest.raises(ipk.Fault, match=r"python3\.1 is needed"):
        ipk.python()


def test_time_is_that_of_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1234567890")
    assert ipk.epoch() == 1234567890
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    monkeypatch.setenv("PATH", "/nowhere")
    assert ipk.epoch() == ipk.FALLBACK_EPOCH
