"""What a team can build on: an ordered store of key phrases, locks with fencing, login sessions."""

from lockside.stores.lock import Lock
from lockside.stores.lock_client import LockClient
from lockside.stores.phrase_row import Phrase
from lockside.stores.phrases import KeyPhraseStore, Phrases

__all__ = [
    "KeyPhraseStore",
    "Lock",
    "LockClient",
    "Phrase",
    "Phrases",
]
