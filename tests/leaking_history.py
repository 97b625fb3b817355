"""A history that contains the exposure itself, for an audit to find."""

import pytest

from recsys_tft.auditing import audit_cuts, leak_audit
from recsys_tft.auditing.futures import FUTURES
from recsys_tft.point_in_time import history


def history_with_the_exposure_itself(patch: pytest.MonkeyPatch) -> None:
    sound = history.Histories
    patch.setattr(history, "Histories", lambda *args: sound(*args[:4], args[4] + 1, args[5]))


def only(patch: pytest.MonkeyPatch, ends_training: bool, future: str) -> None:
    """Leaves the audit one cut and one future."""
    choose = audit_cuts.choose
    patch.setattr(leak_audit, "FUTURES", {future: FUTURES[future]})
    patch.setattr(audit_cuts, "choose", lambda *args: [cut for cut in choose(*args) if cut[1] == ends_training][:1])
