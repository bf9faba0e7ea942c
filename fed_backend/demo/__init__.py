"""The demonstration: hub, sites, couriers and a scripted annotator per site, as real processes.

Everything here acts from outside, over the commands and the HTTP interface that people use; nothing
imports the site's package, and torch is never imported.
"""
