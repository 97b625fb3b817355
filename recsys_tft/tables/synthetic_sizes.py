"""Limits of the synthetic users, videos, interactions and ids, known before any library is loaded."""

from recsys_tft.columns import IdKind
from recsys_tft.errors import InputError

# Users and videos are in memory, some hundred bytes each; interactions are not.
_MOST = {"users": 10**9, "videos": 10**9, "interactions": 10**12, "seed": 2**63 - 1}


def check(**sizes: int) -> None:
    """Refuse numbers of users, videos or interactions, or a seed, that cannot make tables.

    Raises:
        InputError: naming the number and its limit.
    """
    for name, value in sizes.items():
        if value < (least := int(name != "seed")):
            raise InputError(f"Synthetic tables need {name} of at least {least}, got {value}.")
        if value > _MOST[name]:
            shown = value if value < 10**24 else "a longer number"
            raise InputError(f"Synthetic tables take {name} of at most {_MOST[name]}, got {shown}.")


def id_kind(name: str) -> IdKind:
    """The kind of ids of this name.

    Raises:
        InputError: if there is none.
    """
    kinds = [kind for kind in IdKind if kind is not IdKind.AUTO]
    if name not in kinds:
        raise InputError(f"Synthetic tables have ids of {', '.join(kinds)}, not {name!r}.")
    return IdKind(name)
