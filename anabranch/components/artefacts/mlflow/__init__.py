"""MLflow's tracking server by its REST API: calls, versions of models, and files of artefacts.

Over httpx, since importing the ``mlflow`` package takes seconds.
"""
