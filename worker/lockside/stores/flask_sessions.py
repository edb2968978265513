"""Flask's sessions in a SessionStore: the cookie holds a token and nothing else, and a login has a new one.

    app.session_interface = StoredSessions(store, ttl=8 * 3600, idle_ttl=1800)
    flask.session.login("alice")

Needs the extra `lockside[flask]`.
"""

import json
from typing import TYPE_CHECKING, Any, Final

from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.datastructures import CallbackDict

from lockside.errors import LockLostError
from lockside.stores.session_store import TTL_SECONDS

if TYPE_CHECKING:
    from flask import Flask, Request, Response

    from lockside.stores.session_row import Session
    from lockside.stores.session_store import SessionStore

# Flask keeps tuples, dates and the like in sessions; its own tags make them JSON.
TAGS: Final = TaggedJSONSerializer()


class StoredSession(CallbackDict[str, Any], SessionMixin):
    """What `flask.session` is. A visitor's begins when something is put into it; `login` makes it a user's."""

    def __init__(self, interface: "StoredSessions", token: str | None, found: "Session | None") -> None:
        """Take what the store has."""

        def changed(session: "CallbackDict[str, Any]") -> None:
            del session
            self.modified = self.accessed = True

        attributes: dict[str, Any] = TAGS.loads(json.dumps(found.attributes)) if found is not None else {}
        super().__init__(attributes, changed)
        self.modified = False
        self.accessed = False
        self.token = token if found is not None else None
        self.user = found.user if found is not None else None
        self.cookie_stale = token is not None and found is None
        self._interface = interface

    @property
    def new(self) -> bool:  # type: ignore[override] # Flask's own is an attribute that nobody may set here
        """Whether nothing of it is stored yet."""
        return self.token is None

    def login(self, user: str, **options: Any) -> None:
        """Make it a session of this user, under a new token; `options` are those of `SessionStore.login`.

        Raises SessionLimitError and what else `SessionStore.login` does; the visitor's session then stays.
        """
        interface = self._interface
        lifetime = {"ttl": interface.ttl, "idle_ttl": interface.idle_ttl}
        self.token = interface.store.login(
            user, **{**lifetime, "attributes": stored(self), "replacing": self.token, **options}
        )
        self.user, self.modified, self.accessed, self.cookie_stale = user, False, True, True

    def rotate(self) -> None:
        """Go on under a new token, as after any change of what the user may do. Raises LockLostError if it ended."""
        fresh = None if self.token is None else self._interface.store.rotate(self.token, attributes=stored(self))
        if fresh is None:
            raise LockLostError("session: it has ended; log in again")
        self.token, self.modified, self.cookie_stale = fresh, False, True

    def logout(self) -> None:
        """End it; what is put into it afterwards begins a visitor's."""
        if self.token is not None:
            self._interface.store.logout(self.token)
        self.clear()
        self.token, self.user, self.modified, self.cookie_stale = None, None, False, True


class StoredSessions(SessionInterface):
    """Set it as an application's `session_interface`. The cookie's name and flags are Flask's configuration's."""

    def __init__(self, store: "SessionStore", *, ttl: float = TTL_SECONDS, idle_ttl: float | None = None) -> None:
        """Keep sessions for `ttl` seconds at most, and `idle_ttl` without a request."""
        self.store: Final = store
        self.ttl: Final = ttl
        self.idle_ttl: Final = idle_ttl

    def open_session(self, app: "Flask", request: "Request") -> StoredSession:
        """Find the cookie's session; each request of it moves its idle deadline."""
        token = request.cookies.get(self.get_cookie_name(app))
        return StoredSession(self, token, self.store.touch(token) if token else None)

    def save_session(self, app: "Flask", session: SessionMixin, response: "Response") -> None:
        """Write what changed, and set or take away the cookie."""
        if not isinstance(session, StoredSession):
            raise TypeError(f"session of type {type(session).__name__}: it was not opened by this interface")
        if session.accessed or session.cookie_stale:
            response.vary.add("Cookie")
        if session.token is None and session:
            session.token = self.store.start(ttl=self.ttl, idle_ttl=self.idle_ttl, attributes=stored(session))
            session.cookie_stale = True
        elif session.token is not None and session.modified and not self.store.write(session.token, stored(session)):
            # It was ended while this request ran: a logout everywhere is not undone by it.
            session.token, session.cookie_stale = None, True
        if session.cookie_stale or self.should_set_cookie(app, session):
            self._answer(app, session, response)

    def _answer(self, app: "Flask", session: StoredSession, response: "Response") -> None:
        name = self.get_cookie_name(app)
        where: dict[str, Any] = {
            "domain": self.get_cookie_domain(app),
            "path": self.get_cookie_path(app),
            "secure": self.get_cookie_secure(app),
            "samesite": self.get_cookie_samesite(app),
            "partitioned": self.get_cookie_partitioned(app),
        }
        if session.token is None:
            response.delete_cookie(name, **where)
        else:
            expires = self.get_expiration_time(app, session)
            response.set_cookie(name, session.token, expires=expires, httponly=True, **where)


def stored(session: StoredSession) -> dict[str, Any]:
    """Return a session's contents as JSON that Flask's tags bring back."""
    tagged: dict[str, Any] = json.loads(TAGS.dumps(dict(session)))
    return tagged
