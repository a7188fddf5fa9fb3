"""What a server must stand: a corpus of bad and odd inputs, and the program that sends them.

Most are made by code from fixed values, so that the bytes are the same everywhere and the intention
can be read. ``corpus.py`` has all of them, ``send.py`` sends them.
"""
