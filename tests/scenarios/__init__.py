"""Whole stories, told by captures."""
