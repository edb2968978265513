"""Lockside's tests."""
