"""Certificates for a test, made by openssl while it runs."""

import os
import subprocess


class Authority:
    """A CA in a folder. Its certificates are valid for a day."""

    def __init__(self, folder, name="ca", file=None):
        self.folder = str(folder)
        self.certificate = self._path((file or name) + ".pem")
        self.key = self._path((file or name) + ".key")
        self._openssl("req", "-x509", *self._new_key(self.key), "-days", "1",
                      "-subj", f"/CN={name}", "-out", self.certificate)

    def issue(self, name, san=None, expired=False):
        """(certificate, key) files; `san` like "IP:127.0.0.1,DNS:cms"."""
        certificate, key, request = (
            self._path(name + suffix) for suffix in (".pem", ".key", ".csr"))
        self._openssl(
            "req", "-new", *self._new_key(key), "-subj", f"/CN={name}",
            *(("-addext", f"subjectAltName={san}") if san else ()),
            "-out", request)
        self._openssl(
            "x509", "-req", "-in", request, "-copy_extensions", "copy",
            "-CA", self.certificate, "-CAkey", self.key,
            "-days", "-1" if expired else "1", "-out", certificate)
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
