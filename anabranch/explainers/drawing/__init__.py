"""Pictures of explanations, from the answer of ``/explain`` as plain data.

``panels`` decides what there is to see, ``plot`` draws it into a file, ``to_html`` writes a page.
"""

from anabranch.explainers.drawing.page import to_html
from anabranch.explainers.drawing.panels import panels
from anabranch.explainers.drawing.plots import FORMATS, plot

__all__ = ["FORMATS", "panels", "plot", "to_html"]
