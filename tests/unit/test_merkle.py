"""The Merkle tree against published vectors and against RFC 6962's own recursive definition."""

from typing import Final

import pytest

from lockside.core import merkle

# The test tree of certificate-transparency and transparency-dev/merkle (testonly/constants.go): eight leaves, and the
# root over the first n of them.
LEAVES: Final = tuple(
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
)
ROOTS: Final = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def recursive_root(leaves: tuple[bytes, ...]) -> bytes:
    """RFC 6962 section 2.1, as it is written there."""
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return merkle.leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node_hash(recursive_root(leaves[:split]), recursive_root(leaves[split:]))


def grown(leaves: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Append leaves one by one."""
    frontier: tuple[bytes, ...] = ()
    for size, leaf in enumerate(leaves):
        frontier = merkle.append(size, frontier, merkle.leaf_hash(leaf))
    return frontier


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_roots_equal_the_published_vectors(size: int) -> None:
    """The root over the first leaves of the reference tree is the published one."""
    assert merkle.root(grown(LEAVES[:size])).hex() == ROOTS[size]


def test_the_frontier_gives_the_root_of_the_recursive_definition() -> None:
    """For every size up to two full levels past a power of two, the incremental and the recursive root agree."""
    leaves = tuple(index.to_bytes(2, "big") for index in range(131))
    for size in range(len(leaves)):
        frontier = grown(leaves[:size])
        assert merkle.root(frontier) == recursive_root(leaves[:size])
        assert len(frontier) == size.bit_count()
