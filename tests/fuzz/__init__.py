"""Coverage-guided fuzzing by hand: ``python -m tests.fuzz.sdp --seconds 60``; needs atheris.

The corpus of bad inputs is the seed. What a target finds is an exception that the function it calls
does not promise; atheris prints it with the input.
"""
