"""Commands started against an endpoint that is no DynamoDB, or says nothing at all."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockside.aws.clients import FIRST_SECONDS_MAX, connect
from lockside.cli.main import main
from lockside.settings import AwsSettings

COMMANDS = [["run"], ["run", "--once"], ["check"], ["init"], ["status"], ["tail"], ["redrive"]]
SITE = b"<!DOCTYPE html><title>It works</title>"


@contextmanager
def site(status: int, body: bytes) -> Iterator[str]:
    """Serve one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer."""
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def started(folder: Path, url: str, command: list[str], timeout_seconds: float = 5) -> Result:
    """Run a command with settings that name an endpoint."""
    file = folder / "lockside.toml"
    file.write_text(
        f'[aws]\nregion = "us-east-1"\nendpoint_url = "{url}"\nread_timeout_seconds = {timeout_seconds}\n'
        f'[keys]\nfile = "{folder / "keys.json"}"\n'
        '[[source]]\nid = "locks"\ntable = "locks"\nlayout = "pydynlock"\n',
        encoding="utf-8",
    )
    return CliRunner().invoke(main, [*command, "--config", str(file)])


ANSWERS = {
    "a web server": (200, SITE),
    "a web server without POST": (501, SITE),
    "a web server without the page": (404, SITE),
    "another API": (200, b'{"name": "search", "version": 8}'),
    "another API's list": (200, b"[]"),
    "another API's error": (405, b'{"error": "method not allowed"}'),
    "nothing": (200, b""),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_an_endpoint_that_is_no_dynamodb_is_named_with_its_setting(tmp_path: Path, answer: tuple[int, bytes]) -> None:
    """It is wrong set-up, exit code 2, and no reason to try again."""
    with site(*answer) as url:
        result = started(tmp_path, url, ["check"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{url} answers, but not as DynamoDB does" in result.stderr
    assert "aws.endpoint_url" in result.stderr
    assert "It works" not in result.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_so(tmp_path: Path, command: list[str]) -> None:
    """In one message, before anything else is done."""
    with site(501, SITE) as url:
        result = started(tmp_path, url, command)
    assert result.exit_code == 2
    assert "(HTTP status 501); is aws.endpoint_url right" in result.stderr
    assert "Traceback" not in result.output


def test_a_gateway_in_passing_trouble_may_be_the_right_one(tmp_path: Path) -> None:
    """Exit code 3: it could not be found out, and another try may."""
    with site(503, b"<html>busy</html>") as url:
        result = started(tmp_path, url, ["check"])
    assert result.exit_code == 3
    assert f"{url} answers" in result.stderr
    assert "try again" in result.stderr


def waiting(silent: socket.socket) -> int:
    """Count the connections that nobody took up."""
    silent.settimeout(0)
    count = 0
    with suppress(BlockingIOError):
        while True:
            silent.accept()[0].close()
            count += 1
    return count


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_endpoint_that_accepts_and_never_answers_is_named(tmp_path: Path, command: list[str]) -> None:
    """After one wait, not one for each try of each client."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = started(tmp_path, url, command, timeout_seconds=0.2)
        connections = waiting(silent)
    assert result.exit_code == 2
    assert f"no answer from {url} (ReadTimeoutError); is aws.endpoint_url right" in result.stderr
    assert connections == 1, "it was tried once, by one client"


def test_the_first_call_is_over_within_ten_seconds() -> None:
    """However long the settings let a page of the stream take."""
    clients = connect(AwsSettings(region="us-east-1", connect_timeout_seconds=60, read_timeout_seconds=120))
    # Its stubs do not know what every client's configuration holds.
    config: object = clients.first.meta.config
    assert getattr(config, "read_timeout", None) == FIRST_SECONDS_MAX < 10
    assert getattr(config, "connect_timeout", None) == FIRST_SECONDS_MAX
    assert getattr(config, "retries", {})["total_max_attempts"] == 1
