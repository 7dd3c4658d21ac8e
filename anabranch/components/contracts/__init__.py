"""Components that were written for another system, adapted to the contract of ``components``.

``all_contracts`` lists the contracts. Seldon's is in ``seldon/``, MLServer's in ``mlserver/``. What
imports the manifests of these systems is in ``anabranch/importers``, not here.
"""
