"""Runs inside the tools' own environment: ``python foreign.py SOUND.wav FPS`` -> JSON.

One object per frame, vowel to weight. Stands alone: this environment has no other file of ours.
"""

import json
import sys

import pylipsync
import soundfile

samples, rate = soundfile.read(sys.argv[1], dtype="float32")
analyser = pylipsync.PhonemeAnalyzer()
segments = analyser.extract_phoneme_segments(samples, rate, fps=int(sys.argv[2]))
rows = [{item.name: float(item.target) for item in segment.phonemes} for segment in segments]
json.dump(rows, sys.stdout)
