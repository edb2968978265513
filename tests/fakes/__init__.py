"""Doubles that behave."""
