"""A small web shop on Flask, with Flask-Login for who somebody is and Flask-Session for keeping it in DynamoDB."""

from datetime import timedelta
from typing import Any

import flask
import flask_login  # type: ignore[import-untyped]
from flask_session import Session  # type: ignore[import-untyped]

OK = ("", 204)


class Person(flask_login.UserMixin):  # type: ignore[misc]
    """Somebody who may log in; everybody may."""

    def __init__(self, name: str) -> None:
        """Know somebody by name."""
        self.id = name


def build(resource: Any, table: str, lifetime_seconds: float) -> flask.Flask:
    """Return the shop, its sessions kept in `table` for `lifetime_seconds` after each request."""
    shop = flask.Flask("shop")
    shop.config.update(
        SECRET_KEY="made-up",  # noqa: S106 - signs nothing but this demo's cookies
        SESSION_TYPE="dynamodb",
        SESSION_DYNAMODB=resource,
        SESSION_DYNAMODB_TABLE=table,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=lifetime_seconds),
    )
    Session(shop)
    flask_login.LoginManager(shop).user_loader(Person)
    shop.post("/visit")(visit)
    shop.post("/basket/<item>")(basket)
    shop.post("/login/<name>")(login)
    shop.post("/login-rotating/<name>")(login_rotating)
    shop.post("/logout")(logout)
    shop.post("/leave")(leave)
    return shop


def visit() -> tuple[str, int]:
    """Look around: only the session's deadline moves."""
    return OK


def basket(item: str) -> tuple[str, int]:
    """Put something into the basket: the session's content changes."""
    flask.session["basket"] = [*flask.session.get("basket", []), item]
    return OK


def login(name: str) -> tuple[str, int]:
    """Log in, or switch to another user, and keep the session's id: Flask-Login does not rotate it."""
    flask_login.login_user(Person(name))
    return OK


def login_rotating(name: str) -> tuple[str, int]:
    """Log in as one should: with a new session id."""
    shop: Any = flask.current_app
    shop.session_interface.regenerate(flask.session)
    flask_login.login_user(Person(name))
    return OK


def logout() -> tuple[str, int]:
    """Log out. A session with a basket lives on without its user; one that is left with nothing is deleted."""
    flask_login.logout_user()
    return OK


def leave() -> tuple[str, int]:
    """Drop the session with all it holds."""
    flask.session.clear()
    return OK
