"""Says that a picture is generated: a visible mark, and a watermark that survives video codecs.

``disclosure`` draws the one, ``watermark`` the other (its signs: ``code``), ``mark`` is the stage
that does both, ``detect`` finds the watermark again. ``docs/provenance.md`` tells what for.
"""
