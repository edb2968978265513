"""Asks a worker on this machine whether it turns: `python -m lockside.ops.probe [URL]`, exit code 0 if it does.

For images, which have no curl. It imports nothing of Lockside's, so that it costs a few hundredths of a second.
"""

import sys
import urllib.error
import urllib.request
from typing import Final

URL: Final = "http://127.0.0.1:9464/livez"
ANSWER_SECONDS_MAX: Final = 3.0
GOOD: Final = 0
BAD: Final = 1


def main(arguments: list[str]) -> int:
    """Ask once; say why not, and return the exit code."""
    url = arguments[0] if arguments else URL
    # Never through a proxy: it is this machine that is asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS_MAX) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        with error:
            sys.stderr.write(f"{url}: {error.code} {error.read().decode(errors='replace')}")
        return BAD
    except OSError as error:
        sys.stderr.write(f"{url}: no answer ({error}); is ops.listen set, and is it this port?\n")
        return BAD
    return GOOD


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
