"""Which leaves of a block have their rows together, and of what kind."""

from typing import NamedTuple

from ..linalg import Blocks, Step
from ._find import Found
from ._uses import AbstractUse, LookupUse

_FEW = 1024
"""A leaf of so few numbers may have rows that are held as they are, however small the activations."""


class Group(NamedTuple):
    """Leaves of one block whose rows come from one factor.

    Attributes:
        leaves: their numbers; a bias comes after its weight.
        uses: where they are used, if all uses have a known structure.
        why: else what they are used in.
        short: whether rows are held as they are, because they are no longer than a sample's activations.
    """

    leaves: tuple[int, ...]
    uses: tuple[AbstractUse, ...] = ()
    why: str = ""
    short: bool = False


def groups_of(found: Found, sizes: list[int], activations: int, blocks: Blocks) -> list[list[Group]]:
    """The groups of each block, which have each of its leaves once.

    Args:
        found: what is known of the leaves.
        sizes: how many numbers each leaf has.
        activations: how many numbers the largest activation of a sample has.
        blocks: which leaves form a block.
    """
    groups = []
    for block in blocks.leaves:
        own, rest = [], set(block)
        for leaf in block:
            uses = found.uses[leaf]
            if not uses or found.others[leaf] or found.biases[leaf]:
                continue
            biases = [j for j in block if _is_bias(found, j, uses)]
            own.append(Group((leaf, *biases[:1]), tuple(uses)))
            rest -= set(own[-1].leaves)
        short = tuple(leaf for leaf in block if leaf in rest and sizes[leaf] <= max(activations, _FEW))
        own += [Group(short, short=True)] if short else []
        own += [Group((leaf,), why=_why(found, leaf)) for leaf in block if leaf in rest and leaf not in short]
        groups.append(own)
    return groups


def by_layout(uses: tuple[AbstractUse, ...]) -> dict[tuple[bool, tuple[Step, ...]], list[AbstractUse]]:
    """Uses together whose rows are sums over positions with the same matrix."""
    together: dict = {}
    for use in uses:
        together.setdefault((isinstance(use, LookupUse), use.steps), []).append(use)
    return together


def _is_bias(found: Found, leaf: int, uses: list[AbstractUse]) -> bool:
    """Whether a leaf is a bias wherever the uses of a weight are, and nowhere else."""
    biases = found.biases[leaf]
    same = sorted(use.place for use in biases) == sorted(use.place for use in uses)
    is_plain = not found.uses[leaf] and not found.others[leaf]
    return same and is_plain and len(by_layout(tuple(uses))) == 1 and not isinstance(uses[0], LookupUse)


def _why(found: Found, leaf: int) -> str:
    names = dict.fromkeys([*found.others[leaf], *("add" for _ in found.biases[leaf])])
    return "used in " + ", ".join(f"`{name}`" for name in names) if names else "not used"
