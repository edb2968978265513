"""The names in the lock clients' story, so that the crew and its readers need not import the clients."""

from typing import Final

ALPHA: Final = "alpha"
BETA: Final = "beta"
CRASH: Final = "crash"
GAMMA: Final = "gamma"

REPORT: Final = "job-report"
BILLING: Final = "job-billing"
NIGHTLY: Final = "job-nightly"
IMPORT: Final = "job-import"

VICTIM_LOCKS: Final = (NIGHTLY, IMPORT)
"""The locks whose holder is killed; the second one finds an heir."""
