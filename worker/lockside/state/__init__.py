"""What a worker must remember between two runs: how far it got, what is held, and its keys."""
