"""What make install leaves on a server."""

import configparser
import os
import shlex
import shutil
import string
import subprocess

import pytest

from harness import TOP, environment

DROP_IN = "usr/lib/systemd/system/kamailio.service.d/cms_notify.conf"
UNIT = "/usr/lib/systemd/system/kamailio.service"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([TOP / "scripts" / "install"], check=True,
                   stdout=subprocess.DEVNULL, env={
                       **os.environ, "DESTDIR": str(folder),
                       "MODULE_DIR": "/modules", "CONFIG_DIR": "/etc/kamailio"})
    return folder


def start_line(path):
    """Arguments of the last ExecStart, and the environment."""
    environ, line = {}, None
    with open(path, encoding="utf-8") as file:
        for name, _, value in (row.strip().partition("=") for row in file):
            if name == "Environment":
                key, _, text = value.strip("'").partition("=")
                environ[key] = text
            elif name == "ExecStart":
                line = value
    return shlex.split(line), environ


def test_the_drop_in_is_a_unit_file(installed):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    with open(installed / DROP_IN, encoding="utf-8") as file:
        parser.read_file(file)
    assert parser.sections() == ["Service"]


def test_the_service_starts_as_the_package_says_with_another_allocator(
        installed):
    if not os.path.exists(UNIT):
        pytest.skip("no kamailio.service here")
    packaged, _ = start_line(UNIT)
    ours, _ = start_line(installed / DROP_IN)
    assert ours == packaged + ["-x", "tlsf"]


def test_kamailio_takes_the_command_and_the_configuration(installed):
    """The command of the service, with the installed files, checks fine."""
    command, values = start_line(installed / DROP_IN)
    values = {"PKG_MEMORY": "8", **values,
              "CFGFILE": str(installed / "etc/kamailio/kamailio.cfg")}
    command = [string.Template(word).substitute(values) for word in command]
    done = subprocess.run(
        [environment()["KAMAILIO"], *command[1:], "-c", "-L",
         f"{installed}/modules:{environment()['KAMAILIO_MODULES']}"],
        cwd=installed / "etc/kamailio", capture_output=True, text=True,
        timeout=30)
    assert done.returncode == 0, done.stderr
    assert "config file ok" in done.stderr


def test_a_module_that_kamailio_refuses_is_not_installed(tmp_path):
    """The one that was there stays; what is wrong is said."""
    version = environment()["KAMAILIO_VERSION"]
    shutil.copytree(TOP / "scripts", tmp_path / "scripts")
    for name in ("modules", "kamailio.cfg"):
        os.symlink(TOP / name, tmp_path / name)
    built = tmp_path / "build" / version / "cms_notify.so"
    built.parent.mkdir(parents=True)
    with open(environment()["CMS_NOTIFY_MODULE_DIR"] + "/cms_notify.so",
              "rb") as file:
        built.write_bytes(file.read().replace(version.encode(), b"5.0.0"))
    tree = tmp_path / "tree" / "src"
    tree.mkdir(parents=True)
    (tree / "Makefile.defs").write_text("\n".join(
        f"{name} = {number}" for name, number in zip(
            ("VERSION", "PATCHLEVEL", "SUBLEVEL"), version.split("."))))

    def install():
        return subprocess.run(
            [tmp_path / "scripts" / "install", tree.parent],
            capture_output=True, text=True, env={
                **os.environ, "DESTDIR": str(tmp_path / "root"),
                "MODULE_DIR": "/modules", "CONFIG_DIR": "/etc/kamailio"})

    folder = tmp_path / "root" / "modules"
    done = install()
    assert done.returncode == 1 and "installed" not in done.stdout
    assert "module version mismatch" in done.stderr
    assert "make clean" in done.stderr
    assert os.listdir(folder) == []
    (folder / "cms_notify.so").write_text("the old one")
    assert install().returncode == 1
    assert (folder / "cms_notify.so").read_text() == "the old one"
    assert os.listdir(folder) == ["cms_notify.so"]
