"""Visitors of a site whose sessions dynamodb-session-flask keeps, as it is published; tells what truly happened.

Runs in an environment of its own: this library wants Flask 2. Arguments: PART ENDPOINT REGION TABLE ACCESS_KEY SECRET
LEASE_MS.
"""

import json
import os
import sys
import time
from typing import Any

import flask
from dynamodb_session_flask import DynamoDbSession  # type: ignore[import-not-found] # in its own environment

OK = ("", 204)
COOKIE = "id"


def site(endpoint: str, table: str, idle_seconds: int) -> flask.Flask:
    """Build the site; a session ends so many seconds after it was last used."""
    app = flask.Flask("site")
    app.config.update(
        SESSION_DYNAMODB_TABLE_NAME=table,
        SESSION_DYNAMODB_ENDPOINT_URL=endpoint,
        SESSION_DYNAMODB_IDLE_TIMEOUT=idle_seconds,
        SESSION_DYNAMODB_OVERRIDE_COOKIE_SECURE=False,
    )
    app.session_interface = DynamoDbSession()

    @app.post("/visit")
    def visit() -> tuple[str, int]:
        return OK

    @app.post("/basket/<item>")
    def basket(item: str) -> tuple[str, int]:
        flask.session["basket"] = [*flask.session.get("basket", []), item]
        return OK

    @app.post("/login/<name>")
    def login(name: str) -> tuple[str, int]:
        flask.session["user_id"] = name
        return OK

    @app.post("/logout")
    def logout() -> tuple[str, int]:
        flask.session.clear()
        return OK

    return app


class Visitor:
    """One browser."""

    def __init__(self, app: flask.Flask) -> None:
        """Come without cookies."""
        self._browser = app.test_client()
        self.session: str | None = None

    def does(self, path: str, step: str, user: str | None, **facts: Any) -> None:
        """Send one request and tell what is true after it; a step that ends the session is told under its id."""
        answer = self._browser.post(path)
        if answer.status_code != OK[1]:
            raise RuntimeError(f"{path}: {answer.status_code}")
        cookie = self._browser.get_cookie(COOKIE)
        self.session = self.session if cookie is None else cookie.value
        tell(step, session=self.session, user=user, **facts)


def tell(step: str, at: float | None = None, **facts: Any) -> None:
    """Print one step."""
    sys.stdout.write(json.dumps({"t": time.time() if at is None else at, "step": step, **facts}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Let the visitors come."""
    _part, endpoint, region, table, access_key, secret, lease_ms = sys.argv[1:]
    os.environ |= {"AWS_DEFAULT_REGION": region, "AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret}
    idle_seconds = int(lease_ms) // 1000
    kiosk, shop = site(endpoint, table, idle_seconds), site(endpoint, table, 3_600)
    dave = Visitor(kiosk)
    dave.does("/login/dave", "created", "dave")
    last = time.time()
    alice = Visitor(shop)
    alice.does("/basket/tea", "created", None)
    alice.does("/login/alice", "login", "alice")
    alice.does("/visit", "renewed", "alice")
    alice.does("/basket/cup", "changed", "alice")
    alice.does("/logout", "logout", "alice", row="deleted")
    bob = Visitor(shop)
    bob.does("/login/bob", "created", "bob")
    due = int(last) + idle_seconds
    time.sleep(max(0.0, due + 1 - time.time()))
    tell("expired", at=float(due), session=dave.session, user="dave")


if __name__ == "__main__":
    main()
