"""Foreign clients: programs over libraries as they are published, each from its own registry, in a pinned version."""
