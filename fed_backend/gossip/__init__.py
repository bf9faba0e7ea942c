"""Exchanges between peers without a hub: carried by couriers over mutual TLS, or simulated in one process.

::

    session ── exchange ── client ══ mutual TLS ══ gateway ── inbox ── site server of the peer

:mod:`.protocol` says what crosses the line, :mod:`.peers` who the peers are, :mod:`.tls` who may
speak; :mod:`.courier` runs it all for one site. :mod:`.relay` is the same line through a hub, for
sites that may only dial out. Nothing here imports torch.
"""
