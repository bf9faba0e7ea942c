"""FedSeg's library: everything of the module that is not a widget.

Layers, each importing only those above it, none importing qt::

    errors  address  cancel  fields    plain values and small tools
    protocol  progress  multipart      what travels: typed requests and replies
    consent  settings  state  words    what may be sent, what is remembered, what is shown
    transport  client                  HTTP: one call per endpoint of a site
    worker                             background threads, results on the caller's thread
    grid                               voxel geometry with numpy
    scene/                             the only part that imports ``slicer``
    panel  watching  connection  casework  controller    what a person's action does
"""

__version__ = "0.1.0"
