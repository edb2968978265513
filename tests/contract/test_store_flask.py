"""Flask's sessions in the store, over HTTP as a browser meets them."""

from collections.abc import Callable
from typing import Any

import flask
import pytest
from flask.testing import FlaskClient

from lockside.emulators.emulator import Emulator
from lockside.errors import LockLostError, SessionLimitError
from lockside.stores import SessionStore
from lockside.stores.flask_sessions import StoredSessions
from tests.fakes.store_desk import StoreDesk, make_desk


@pytest.fixture
def desk(emulator_of: Callable[[Any], Emulator]) -> StoreDesk:
    """Return empty tables in memory."""
    return make_desk("memory", emulator_of, page_items=100)


@pytest.fixture
def store(desk: StoreDesk) -> SessionStore:
    """Return a store that allows one session a user."""
    return desk.session_store(desk.lock_client("web"), max_sessions_per_user=1)


@pytest.fixture
def browser(store: SessionStore) -> FlaskClient:
    """Return a browser at a small application."""
    app = flask.Flask("shop")
    app.session_interface = StoredSessions(store, ttl=100, idle_ttl=40)
    session: Any = flask.session

    @app.get("/put/<word>")
    def put(word: str) -> str:
        session["word"] = word
        flask.flash(word)
        return word

    @app.get("/show")
    def show() -> dict[str, Any]:
        return {"word": session.get("word"), "user": session.user, "new": session.new}

    @app.get("/plain")
    def plain() -> str:
        return "nothing of a session"

    @app.get("/login/<user>")
    def login(user: str) -> tuple[str, int]:
        try:
            session.login(user)
        except SessionLimitError:
            return "elsewhere", 409
        return user, 200

    @app.get("/logout")
    def logout() -> str:
        session.logout()
        return "bye"

    @app.get("/rotate")
    def rotate() -> tuple[str, int]:
        try:
            session.rotate()
        except LockLostError:
            return "none", 401
        return "rotated", 200

    @app.get("/put-and-end")
    def put_and_end() -> str:
        store.logout_everywhere("alice")
        session["word"] = "late"
        return "late"

    return app.test_client()


def cookie(browser: FlaskClient) -> str | None:
    """Return the session's cookie."""
    found = browser.get_cookie("session")
    return None if found is None else found.value


def test_a_visitor_logs_in_and_out(browser: FlaskClient, store: SessionStore) -> None:
    """Each step has a token of its own, and what was put before is there after."""
    browser.get("/plain")
    assert cookie(browser) is None
    browser.get("/put/cart")
    visitor = cookie(browser)
    assert browser.get("/show").json == {"word": "cart", "user": None, "new": False}
    browser.get("/login/alice")
    user = cookie(browser)
    assert user not in {None, visitor}
    assert browser.get("/show").json == {"word": "cart", "user": "alice", "new": False}
    assert store.read(visitor or "") is None
    browser.get("/rotate")
    assert cookie(browser) not in {user, visitor, None}
    assert browser.get("/show").json == {"word": "cart", "user": "alice", "new": False}
    browser.get("/logout")
    assert cookie(browser) is None
    assert browser.get("/show").json == {"word": None, "user": None, "new": True}
    assert store.sessions_of("alice") == []


def test_the_cookie_is_kept_from_scripts_and_caches(browser: FlaskClient) -> None:
    """HttpOnly, and Vary where a session was looked at."""
    response = browser.get("/put/x")
    assert "HttpOnly" in response.headers["Set-Cookie"]
    assert response.headers["Vary"] == "Cookie"
    assert "Vary" not in browser.get("/plain").headers


def test_a_second_login_is_refused_by_the_policy(browser: FlaskClient) -> None:
    """The visitor's session of the other browser stays as it was."""
    browser.get("/login/alice")
    other = browser.application.test_client()
    other.get("/put/mine")
    assert other.get("/login/alice").status_code == 409
    assert other.get("/show").json == {"word": "mine", "user": None, "new": False}


def test_requests_keep_a_session_alive_up_to_its_end(browser: FlaskClient, desk: StoreDesk) -> None:
    """Each moves the idle deadline; a stale cookie is taken away."""
    browser.get("/login/alice")
    for _ in range(3):
        desk.machine.advance(30)
        assert browser.get("/show").json == {"word": None, "user": "alice", "new": False}
    desk.machine.advance(30)
    assert browser.get("/show").json == {"word": None, "user": None, "new": True}
    assert cookie(browser) is None
    assert browser.get("/rotate").status_code == 401


def test_a_logout_everywhere_is_not_undone_by_a_late_request(browser: FlaskClient, store: SessionStore) -> None:
    """What it wrote is dropped, with its cookie."""
    browser.get("/login/alice")
    browser.get("/put-and-end")
    assert cookie(browser) is None
    assert store.sessions_of("alice") == []


def test_a_made_up_cookie_is_no_session(browser: FlaskClient) -> None:
    """It is not taken over as a token of ours: no fixation."""
    browser.set_cookie("session", "made-up")
    browser.get("/put/x")
    assert cookie(browser) not in {None, "made-up"}


def test_what_a_page_only_reads_varies_with_the_cookie(browser: FlaskClient) -> None:
    """A cache must not give one user's page to another; a page without the session is everybody's."""
    browser.get("/login/alice")
    assert browser.get("/show").headers.get("Vary") == "Cookie"
    assert browser.get("/plain").headers.get("Vary") is None
