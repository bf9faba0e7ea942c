"""Exchanges between peers without a hub: carried by couriers over mutual TLS, or simulated in one process.

::

    session ── exchange ── client ══ mutual TLS ══ gateway ── inbox ── site server of the peer

:mod:`.protocol` says what crosses the line, :mod:`.peers` who the peers are, :mod:`.tls` who may
speak; :mod:`.courier` runs it all for one site. Nothing here imports torch.
"""
