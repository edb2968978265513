"""The RFC 6962 Merkle tree, kept as its frontier: the roots of the perfect subtrees from left to right.

Adding a leaf costs one hash and, on average, one more; the frontier of n leaves has as many hashes as n has one bits.
Source: RFC 6962 section 2.1 (leaf = H(00 ‖ data), node = H(01 ‖ left ‖ right)).
"""

import hashlib

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Hash one record's bytes as a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees together."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def append(size: int, frontier: tuple[bytes, ...], leaf: bytes) -> tuple[bytes, ...]:
    """Add a leaf hash to a tree of `size` leaves and return the new frontier."""
    peaks = list(frontier)
    node = leaf
    while size & 1:
        node = node_hash(peaks.pop(), node)
        size >>= 1
    peaks.append(node)
    return tuple(peaks)


def root(frontier: tuple[bytes, ...]) -> bytes:
    """Return the root: the peaks joined from the right."""
    if not frontier:
        return EMPTY_ROOT
    node = frontier[-1]
    for peak in reversed(frontier[:-1]):
        node = node_hash(peak, node)
    return node
