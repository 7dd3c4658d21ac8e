"""Pictures of explanations, from the reply of ``/explain`` as plain data.

``panels`` makes the panels of a picture, ``plot`` draws them into a file, ``to_html`` writes a
page.
"""

from anabranch.explainers.drawing.page import to_html
from anabranch.explainers.drawing.panels import panels
from anabranch.explainers.drawing.plots import FORMATS, plot

__all__ = ["FORMATS", "panels", "plot", "to_html"]
