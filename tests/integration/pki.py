"""Certificates for a test, made by openssl while it runs."""

import datetime
import os
import subprocess

# `openssl ca` is what can make a certificate of the past in every release.
CONFIG = """
[ca]
default_ca = authority
[authority]
database = {folder}/{name}.index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = names
unique_subject = no
copy_extensions = copy
[names]
commonName = supplied
"""


class Authority:
    """A CA in a folder. Its certificates are valid for a day."""

    def __init__(self, folder, name="ca", file=None):
        self.folder = str(folder)
        self.certificate = self._path((file or name) + ".pem")
        self.key = self._path((file or name) + ".key")
        self._openssl("req", "-x509", *self._new_key(self.key), "-days", "1",
                      "-subj", f"/CN={name}", "-out", self.certificate)
        self._config = self._path((file or name) + ".conf")
        with open(self._config, "w", encoding="utf-8") as config:
            config.write(CONFIG.format(folder=self.folder, name=file or name))
        with open(self._path((file or name) + ".index"), "w"):
            pass

    def issue(self, name, san=None, expired=False):
        """(certificate, key) files; `san` like "IP:127.0.0.1,DNS:cms"."""
        certificate, key, request = (
            self._path(name + suffix) for suffix in (".pem", ".key", ".csr"))
        self._openssl(
            "req", "-new", *self._new_key(key), "-subj", f"/CN={name}",
            *(("-addext", f"subjectAltName={san}") if san else ()),
            "-out", request)
        end = datetime.datetime.now(datetime.timezone.utc) \
            + datetime.timedelta(days=-1 if expired else 1)
        start = end - datetime.timedelta(days=2)
        self._openssl(
            "ca", "-batch", "-notext", "-config", self._config,
            "-cert", self.certificate, "-keyfile", self.key, "-in", request,
            "-startdate", f"{start:%Y%m%d%H%M%SZ}",
            "-enddate", f"{end:%Y%m%d%H%M%SZ}", "-out", certificate)
        return certificate, key

    def _path(self, name):
        return os.path.join(self.folder, name)

    @staticmethod
    def _new_key(path):
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-keyout", path)

    @staticmethod
    def _openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True)
