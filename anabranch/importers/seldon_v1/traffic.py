"""Traffic between predictors: the stable revision, weights and the mirror, and their checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from anabranch.importers.fields import Fields
from anabranch.importers.revisions import RevisionShare, deploy_commands


@dataclass(frozen=True)
class PredictorShare:
    """What a predictor gets of the traffic."""

    fields: Fields
    name: str
    percent: int
    is_shadow: bool


def read_share(fields: Fields, name: str) -> PredictorShare:
    """Return the share of a predictor."""
    return PredictorShare(fields, name, fields.whole("traffic") or 0, fields.flag("shadow"))


def check_shares(spec: Fields, shares: Sequence[PredictorShare]) -> None:
    """Keep the mistakes of ``checkTraffic`` and ``validateShadow``, and those they do not see."""
    arms = [share for share in shares if not share.is_shadow]
    for share in shares:
        if not 0 <= share.percent <= 100:
            share.fields.mistake(f"must be from 0 to 100, not {share.percent}", "traffic")
    for share in [share for share in shares if share.is_shadow][1:]:
        share.fields.mistake("another predictor is a shadow; Seldon allows one", "shadow")
    if shares and not arms:
        shares[0].fields.mistake("a shadow cannot be the only predictor", "shadow")
    total = sum(share.percent for share in arms)
    if len(arms) > 1 and total != 100:
        said = f"the traffic of {len(arms)} predictors must sum to 100, not {total}"
        spec.mistake(said, "predictors")
    if len(arms) == 1 and total not in (0, 100):
        arms[0].fields.mistake("the only predictor has all traffic: leave it out", "traffic")


def in_order(shares: Sequence[PredictorShare]) -> list[PredictorShare]:
    """Return the shares, the stable revision first: that of the most traffic, or the first."""
    arms = [share for share in shares if not share.is_shadow] or list(shares)
    stable = max(arms, key=lambda share: share.percent)
    return [stable, *[share for share in shares if share is not stable]]


def note_share(share: PredictorShare, is_stable: bool) -> None:
    """Note ``traffic`` and ``shadow`` of a predictor."""
    has_traffic, has_shadow = "traffic" in share.fields.data, "shadow" in share.fields.data
    if share.is_shadow:
        share.fields.reworded(f"a mirror of {_copied(share)} % of the requests", "shadow")
        if has_traffic:
            share.fields.same("share of the requests that are copied", "traffic")
        return
    if has_traffic:
        what = "the stable revision" if is_stable else "a canary"
        share.fields.reworded(f"{what} with the weight {share.percent}", "traffic")
    if has_shadow:
        share.fields.same("no mirror", "shadow")


def steps(graph: str, shares: Sequence[PredictorShare], folders: Sequence[str]) -> list[list[str]]:
    """Return the commands for each share, whose graph is in the folder of its place."""
    return deploy_commands(
        graph,
        [
            RevisionShare(folder, _copied(one) if one.is_shadow else one.percent, one.is_shadow)
            for one, folder in zip(shares, folders, strict=True)
        ],
    )


def _copied(share: PredictorShare) -> int:
    """All requests, unless told otherwise (``seldondeployment_controller.go``)."""
    return share.percent or 100
