"""Starts the three services as processes of their own on a fresh database, and stops them."""

import os
import random
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

SERVICES = ("inventory", "fulfillment", "orders")
START_LIMIT_S = 60


def free_port():
    """A port below those that the kernel gives to outgoing connections, so that nobody takes it meanwhile."""
    for port in random.sample(range(20000, 32000), 200):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no port is free")


class Platform:
    """The platform as a user would run it: three processes, PostgreSQL, Kafka."""

    def __init__(self, binary):
        self.binary = str(Path(binary).resolve())
        self.broker = os.environ["ENTREPOT_TEST_KAFKA"]
        self.server = os.environ["ENTREPOT_TEST_POSTGRES"]
        name = f"foreign_{uuid.uuid4().hex[:8]}"
        self.database, self.prefix = name, f"{name}."
        self.topics = [f"{self.prefix}entrepot.{topic}.v1" for topic in ("orders", "inventory", "fulfillment")]
        self.ports = {service: free_port() for service in SERVICES}
        self.admin_ports = {service: free_port() for service in SERVICES}
        self.directory = tempfile.TemporaryDirectory(prefix="entrepot-clients.")
        self.running = {}

    def address(self, service):
        return f"127.0.0.1:{self.ports[service]}"

    def settings(self, service):
        """Of a process, or of a command, which listens nowhere."""
        own = {}
        if service in SERVICES:
            own = {
                "ENTREPOT__SERVER__LISTEN": self.address(service),
                "ENTREPOT__ADMIN__LISTEN": f"127.0.0.1:{self.admin_ports[service]}",
            }
        return own | {
            "ENTREPOT__DATABASE__URL": urlunsplit(urlsplit(self.server)._replace(path=f"/{self.database}")),
            "ENTREPOT__BUS__KIND": "kafka",
            "ENTREPOT__BUS__BROKERS": self.broker,
            "ENTREPOT__BUS__PREFIX": self.prefix,
            "ENTREPOT__BUS__PARTITIONS": "3",
            "ENTREPOT__SECRETS__PICKUP_CODE_KEY": "a key for tests only",
            "ENTREPOT__DATA__DIRECTORY": str(Path(self.directory.name) / service),
            "ENTREPOT__PEERS__INVENTORY": f"http://{self.address('inventory')}",
            "ENTREPOT__PEERS__FULFILLMENT": f"http://{self.address('fulfillment')}",
            "ENTREPOT__PEERS__ORDERS": f"http://{self.address('orders')}",
        }

    def __enter__(self):
        self._sql(f'CREATE DATABASE "{self.database}"')
        try:
            self.start()
        except BaseException:
            self._end(show=True)
            raise
        return self

    def __exit__(self, failure, *_):
        codes = self._end(show=failure is not None)
        if failure is None and any(code != 0 for code in codes.values()):
            raise AssertionError(f"after SIGTERM the services ended with {codes}")

    def start(self):
        for service in SERVICES:
            self.running[service] = self._spawn(service)
        for service in SERVICES:
            self._wait_until_ready(service)

    def run(self, *arguments):
        """Runs a command of an operator beside the processes; answers what it prints."""
        environment = {**os.environ, **self.settings("command")}
        return subprocess.run([self.binary, *arguments], env=environment, check=True, capture_output=True, text=True).stdout

    def admin(self, service, path):
        """What a process answers on its operators' port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_ports[service]}{path}", timeout=10) as answer:
            return answer.read().decode()

    def _spawn(self, service):
        with open(Path(self.directory.name) / f"{service}.log", "wb") as log:
            return subprocess.Popen(
                [self.binary, "serve", "--services", service],
                env={**os.environ, **self.settings(service)},
                cwd=self.directory.name,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def stop(self, show=False):
        """Stops all; answers with their exit codes and shows the end of their logs if asked."""
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        codes = {}
        for service, process in self.running.items():
            try:
                codes[service] = process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                codes[service] = f"{process.wait()} (killed: it did not stop in 30 s)"
            if show or codes[service] != 0:
                print(f"--- the last lines of {service}:")
                print((Path(self.directory.name) / f"{service}.log").read_text(errors="replace")[-4000:])
        return codes

    def _end(self, show):
        codes = self.stop(show)
        self._sql(f'DROP DATABASE "{self.database}" WITH (FORCE)')
        self.directory.cleanup()
        return codes

    def _sql(self, statement):
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(statement)

    def _wait_until_ready(self, service):
        url, until = f"http://127.0.0.1:{self.admin_ports[service]}/readyz", time.monotonic() + START_LIMIT_S
        while True:
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                pass
            code = self.running[service].poll()
            if code is not None or time.monotonic() > until:
                raise RuntimeError(f"{service} is not ready at {url} (exit code {code})")
            time.sleep(0.1)
