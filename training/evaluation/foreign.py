"""Runs inside the tools' own environment: ``python foreign.py FPS``, paths of sounds on stdin.

Answers each path with one line of JSON: an object per frame, vowel to weight. Stands alone: this
environment has no other file of ours.
"""

import json
import sys

import pylipsync
import soundfile

analyser = pylipsync.PhonemeAnalyzer()
for line in sys.stdin:
    samples, rate = soundfile.read(line.strip(), dtype="float32")
    segments = analyser.extract_phoneme_segments(samples, rate, fps=int(sys.argv[1]))
    rows = [{item.name: float(item.target) for item in segment.phonemes} for segment in segments]
    sys.stdout.write(json.dumps(rows) + "\n")
    sys.stdout.flush()
