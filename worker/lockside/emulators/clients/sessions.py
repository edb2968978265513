"""Visitors of the shop, over its WSGI interface: they log in, act, switch user, log out; one just disappears."""

import argparse
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import flask

from lockside.emulators.clients import endpoint, shop
from lockside.emulators.clients.truth import Teller

SITE_LIFETIME_SECONDS: Final = 1800.0
LOST_LIFETIME_SECONDS: Final = 5.0
PACE_SECONDS: Final = 0.3

COOKIE: Final = "session"
GONE: Final = None


@dataclass(slots=True)
class Deadlines:
    """The deadline each row really got, read from the acknowledged writes themselves."""

    by_key: dict[str, float] = field(default_factory=dict)

    def watch(self, client: Any) -> None:
        """Follow a boto3 client."""
        client.meta.events.register("provide-client-params.dynamodb.UpdateItem", self._seen)

    def _seen(self, params: Mapping[str, Any], **_event: object) -> None:
        self.by_key[params["Key"]["id"]] = float(params["ExpressionAttributeValues"][":exp"])


@dataclass(slots=True)
class Stage:
    """What the visitors share: the teller and the pace."""

    teller: Teller
    pace_seconds: float
    pause: threading.Event = field(default_factory=threading.Event)


class Visitor:
    """One browser: its cookies, and what is true of its session after each step."""

    def __init__(self, site: flask.Flask, stage: Stage) -> None:
        """Come without cookies."""
        self._browser = site.test_client()
        self._stage = stage

    @property
    def session(self) -> str | None:
        """The row's key value while there is a session."""
        cookie = self._browser.get_cookie(COOKIE)
        return f"session:{cookie.value}" if cookie is not None else GONE

    def does(self, path: str, step: str, user: str | None, **facts: Any) -> None:
        """Send one request and tell its truth. A step that ends the session is told under the id it had."""
        before = self.session
        answer = self._browser.post(path)
        if answer.status_code != shop.OK[1]:
            raise RuntimeError(f"{path}: the shop answered {answer.status_code}")
        self._stage.teller.tell(step, session=self.session or before, user=user, **facts)
        self._stage.pause.wait(self._stage.pace_seconds)


def play(site: flask.Flask, stage: Stage) -> None:
    """Tell the stories of alice, bob, carol and gina once, each with new cookies."""
    alice = Visitor(site, stage)
    alice.does("/basket/tea", "created", None)
    alice.does("/login/alice", "login", "alice")
    alice.does("/visit", "renewed", "alice")
    alice.does("/visit", "renewed", "alice")
    alice.does("/basket/cup", "changed", "alice")
    alice.does("/logout", "logout", "alice", row="stays")
    alice.does("/leave", "ended", None, row="deleted")
    bob = Visitor(site, stage)
    bob.does("/login/bob", "created", "bob")
    bob.does("/visit", "renewed", "bob")
    bob.does("/logout", "logout", "bob", row="deleted")
    carol = Visitor(site, stage)
    carol.does("/basket/pot", "created", None)
    carol.does("/login-rotating/carol", "rotated_login", "carol", old=carol.session)
    carol.does("/leave", "logout", "carol", row="deleted")
    gina = Visitor(site, stage)
    gina.does("/login/gina", "created", "gina")
    gina.does("/login/hank", "switched", "hank", previous="gina")
    gina.does("/logout", "logout", "hank", row="deleted")


def lose(site: flask.Flask, stage: Stage, lifetime_seconds: float) -> dict[str, str]:
    """Let dave log in, look around once and disappear; return the session that will run out, and whose it is."""
    dave = Visitor(site, stage)
    dave.does("/login/dave", "created", "dave", lifetime_s=lifetime_seconds)
    dave.does("/visit", "renewed", "dave")
    return {str(dave.session): "dave"}


def come_late(erin: Visitor, stage: Stage, deadlines: Deadlines, late_seconds: float) -> None:
    """Let erin come back after her deadline: Flask-Session never looks at it, and she is still logged in."""
    session = str(erin.session)
    due = deadlines.by_key[session]
    stage.pause.wait(max(0.0, due + late_seconds - time.time()))
    stage.teller.tell("expired", at=due, session=session, user="erin")
    erin.does("/visit", "renewed", "erin", after_deadline=True)


def run_out(lost: Mapping[str, str], stage: Stage, deadlines: Deadlines) -> None:
    """Wait until each lost session's own deadline has passed, and tell it."""
    for session, user in sorted(lost.items(), key=lambda item: deadlines.by_key[item[0]]):
        due = deadlines.by_key[session]
        stage.pause.wait(max(0.0, due - time.time()))
        stage.teller.tell("expired", at=due, session=session, user=user)


def open_shop(options: argparse.Namespace) -> None:
    """Open the shop, and a kiosk of it with short sessions; let the visitors come; await the lost ones' deadlines."""
    resource = endpoint.resource(options)
    deadlines = Deadlines()
    deadlines.watch(resource.meta.client)
    stage = Stage(Teller(sys.stdout), options.pace)
    stage.teller.tell("start", client="Flask-Session", lifetime_s=options.lifetime)
    site = shop.build(resource, options.table, SITE_LIFETIME_SECONDS)
    kiosk = shop.build(resource, options.table, options.lifetime)
    lost = lose(kiosk, stage, options.lifetime)
    erin = Visitor(kiosk, stage)
    if options.late is not None:
        erin.does("/login/erin", "created", "erin", lifetime_s=options.lifetime)
    for _round in range(options.rounds):
        play(site, stage)
    if options.late is not None:
        come_late(erin, stage, deadlines, options.late)
        lost[str(erin.session)] = "erin"
    run_out(lost, stage, deadlines)
    stage.teller.tell("end")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and play."""
    parser = endpoint.parser("sessions")
    parser.add_argument("--lifetime", type=float, default=LOST_LIFETIME_SECONDS, help="seconds a lost session lives")
    parser.add_argument("--pace", type=float, default=PACE_SECONDS, help="seconds between two steps")
    parser.add_argument("--late", type=float, help="seconds past a deadline at which somebody comes back")
    options = parser.parse_args(arguments)
    endpoint.settle(options)
    open_shop(options)


if __name__ == "__main__":
    main()
