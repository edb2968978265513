"""What is decided: pure functions and frozen values, with time, ids and randomness as arguments."""
