"""The browser seat: FedSegLib in a web page, for annotators without 3D Slicer.

One process serves one person. Slicer's core (slicer-core) runs here without a window; trame-slicer draws its slice
views into the page and hands mouse events back. What actions do is in FedSegLib, unchanged, as in the Slicer module.

Layers, each importing only those above it::

    showing            a View as the page's values (pure)
    store  gate        what is remembered; who may open the page
    host  brush        Slicer's globals; painting
    views  seat        the slice views; the session
    page               the layout
"""
