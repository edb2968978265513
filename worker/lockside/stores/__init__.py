"""What a team can build on: an ordered store of key phrases, locks with fencing, login sessions (docs/stores.md)."""

from lockside.stores.lock import Lock
from lockside.stores.lock_client import Holding, LockClient
from lockside.stores.lock_session import LockSession
from lockside.stores.phrase_row import Phrase
from lockside.stores.phrases import KeyPhraseStore, Phrases
from lockside.stores.session_row import Session
from lockside.stores.session_store import SessionStore

__all__ = [
    "Holding",
    "KeyPhraseStore",
    "Lock",
    "LockClient",
    "LockSession",
    "Phrase",
    "Phrases",
    "Session",
    "SessionStore",
]
