"""Fields of pods: the machines of a node, and notes on what only a pod has."""

from __future__ import annotations

import re
from typing import Any

from anabranch.importers.containers import POD_FIELDS
from anabranch.importers.fields import Fields
from anabranch.specs.models import LABEL_KEY, LABEL_SELECTOR


def import_placement(pod: Fields) -> dict[str, Any]:
    """Return the placement of a pod's node; note its other fields, but for its containers."""
    labels = {}
    for key, value in pod.texts("nodeSelector").items():
        if re.fullmatch(LABEL_KEY, key) and re.fullmatch(LABEL_SELECTOR, value):
            labels[key] = value
            pod.to_do(f"give machines the label in Ray: {key}={value}", "nodeSelector", key)
        else:
            pod.left_out("no label of a machine may be so", "nodeSelector", key)
    pod.leave_out(POD_FIELDS)
    return {"labels": labels} if labels else {}
