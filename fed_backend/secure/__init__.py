"""Secure aggregation: the hub sees the sum of the sites' updates and no single one.

Double masking after Bonawitz et al. (CCS 2017, doi 10.1145/3133956.3133982). Every site of a round
sends its update, in fixed point modulo 2^64, under a mask of its own and one mask for each pair of
sites; in the sum the pairs cancel, and the sites tell the hub, by shares of secrets, just as much as
takes the rest away. What may be learned from it by whom is in ``docs/explanation/privacy.md``.

::

    fixed_point   updates as whole numbers modulo 2^64, and their mean again
    shamir        a secret in n shares, of which any t give it back
    masks         agreed keys, and what is drawn from them
    roster        who takes part: keys that the sites signed with their federation's certificates
    wire          the messages
    site, hub     the two ends as state machines, without sockets or clocks
"""
