"""TLS before servers that have none: certificates of an authority of the script's own, and nginx."""

from oauthkit import *


class Authority:
    """Makes certificates by openssl; each is the path of NAME.pem, with NAME.key beside it."""

    def __init__(self, folder, name="Test authority"):
        self.folder = folder
        self.certificate = self.self_signed("authority-" + secrets.token_hex(4), f"/CN={name}")

    def run(self, *arguments):
        done = subprocess.run(["openssl", *arguments], cwd=self.folder, capture_output=True, text=True)
        check(done.returncode == 0, f"openssl {arguments[0]}: {done.stderr}")

    def self_signed(self, name, subject):
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                 "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.pem")
        return f"{self.folder}/{name}.pem"

    def issue(self, name, subject, names):
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", subject,
                 "-keyout", f"{name}.key", "-out", f"{name}.csr")
        with open(f"{self.folder}/{name}.ext", "w") as file:
            file.write(f"subjectAltName = {names}\nextendedKeyUsage = clientAuth, serverAuth\n")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", self.certificate, "-CAkey", key_of(self.certificate),
                 "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        return f"{self.folder}/{name}.pem"


def key_of(certificate):
    return certificate.removesuffix(".pem") + ".key"


class Nginx:
    """nginx with these servers; in `servers` FOLDER stands for its folder."""

    def __init__(self, folder, servers, script=""):
        self.folder = folder
        with open(f"{folder}/script.js", "w") as file:
            file.write(script)
        paths = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in
                          ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
        with open(f"{folder}/nginx.conf", "w") as file:
            file.write(f"""
load_module /usr/lib/nginx/modules/ngx_http_js_module.so;
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{ access_log {folder}/access.log; {paths}
{servers.replace("FOLDER", folder)}
}}
""")
        path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
        self.process = Process(["nginx", "-p", folder, "-c", f"{folder}/nginx.conf", "-e", f"{folder}/error.log"],
                               f"{folder}/output.log", folder, {"PATH": path})

    def wait(self, address, port):
        def listens():
            if not self.process.is_running:
                raise Failure(f"nginx ended: {self.errors()}")
            try:
                socket.create_connection((address, port), timeout=PATIENCE).close()
                return True
            except OSError:
                return False
        try:
            eventually(listens, lambda: f"no nginx: {self.errors()}")
        except Failure:
            self.stop()
            raise
        return self

    def errors(self):
        if not os.path.exists(f"{self.folder}/error.log"):
            return self.process.tail()
        with open(f"{self.folder}/error.log", errors="replace") as file:
            return self.process.tail() + file.read()[-2000:]

    def lines(self):
        with open(f"{self.folder}/access.log", errors="replace") as file:
            return file.read().splitlines()

    def stop(self):
        self.process.stop()
