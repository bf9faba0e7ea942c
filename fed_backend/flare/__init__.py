"""Central federations over NVIDIA FLARE: kits, the hub, the couriers, and the rounds they run.

::

    site server <--HTTP--> courier (FLARE client, job process: executor) <--mTLS--> hub (FLARE server,
                                                                       job process: controller)

The round logic (:mod:`fed_backend.flare.coordinator`) knows neither FLARE nor sockets; everything
private to FLARE lives in :mod:`fed_backend.flare.engine`.
"""
