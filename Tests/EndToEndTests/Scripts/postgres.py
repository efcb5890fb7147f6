"""A PostgreSQL server of the script's own, on a free port, in a folder that goes with it."""

import contextlib
import glob
import pwd
import shutil
import tempfile

from oauthkit import *


class Server:
    user = "gateway"
    database = "gateway"

    def __init__(self, folder):
        programs = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: int(path.split("/")[4]))
        check(programs, "no PostgreSQL is installed")
        self.programs = os.path.dirname(programs[-1])
        self.port = free_port()
        # Apart from the script's folder and from TMPDIR, which the server's user perhaps cannot enter.
        self.folder = tempfile.mkdtemp(prefix="token-gateway-pg-", dir="/tmp")
        self.log = f"{folder}/postgresql.log"
        self.owner = []
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            self.owner = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
        self.data = f"{self.folder}/data"
        self.password = secrets.token_urlsafe(18)
        password_file = f"{self.folder}/password"
        private_file(password_file, self.password)
        if self.owner:
            os.chown(password_file, account.pw_uid, account.pw_gid)
        self.command("initdb", "-D", self.data, "-U", self.user, "--auth=scram-sha-256", f"--pwfile={password_file}",
                     "--no-sync", "--locale=C", "-E", "UTF8")
        with open(f"{self.data}/postgresql.conf", "a") as file:
            file.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                       "max_connections = 60\nlog_min_messages = warning\n")
        self.process = None
        self.start()
        self.command("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, self.database)
        self.url = f"postgresql://{self.user}@127.0.0.1:{self.port}/{self.database}"

    def command(self, program, *arguments, stdin=None):
        done = subprocess.run(
            self.owner + [f"{self.programs}/{program}", *arguments], input=stdin, capture_output=True, text=True, timeout=60,
            cwd="/", env={**os.environ, "PGPASSWORD": self.password})
        check(done.returncode == 0, f"{program}: {done.stderr}")
        return done.stdout

    def query(self, text):
        return self.command("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", self.database,
                            "-XAtqc", text).strip()

    def start(self):
        self.process = Process(self.owner + [f"{self.programs}/postgres", "-D", self.data], self.log, "/")
        eventually(self.answers, lambda: f"no PostgreSQL: {self.process.tail()}", 40)

    def answers(self):
        check(self.process.is_running, f"PostgreSQL ended: {self.process.tail()}")
        return subprocess.run(
            [f"{self.programs}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], timeout=20).returncode == 0

    def stop(self, number=signal.SIGINT):
        """SIGINT ends sessions at once ("fast"), SIGQUIT is a crash with recovery at the next start."""
        self.process.stop(number, within=40)

    def processes(self):
        """The server's: the postmaster and its children."""
        with open(f"{self.data}/postmaster.pid") as file:
            root = int(file.readline())
        found = [root]
        for name in os.listdir("/proc"):
            try:
                with open(f"/proc/{int(name)}/stat") as file:
                    if int(file.read().rpartition(") ")[2].split()[1]) == root:
                        found.append(int(name))
            except (OSError, ValueError, IndexError):
                continue
        return found

    def freeze(self):
        """Connections stay, nobody answers, until `resume`."""
        for process in self.processes():
            os.kill(process, signal.SIGSTOP)

    def resume(self):
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    def dump(self):
        return self.command("pg_dump", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "--inserts", self.database)

    def restore(self, backup):
        self.command("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", self.user, "-d", self.database, "-Xq",
                     "-v", "ON_ERROR_STOP=1", stdin=backup)

    def remove(self):
        if self.process.is_running:
            self.resume()
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
