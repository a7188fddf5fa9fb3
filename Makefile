# `make serve` and `make test` are all a new machine needs: Python 3.11+, git, make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: serve test check bench clean system-packages

serve: $(VENV)/.runtime
	$(BIN)/python -m engine.serve $(ARGS)

test: $(VENV)/.dev system-packages
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks stages $(ARGS)

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Vivace needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check --progress-bar off -q -e .
	touch $@

# torch comes first and by exact version, so that its CPU build is taken where there is one; piq
# without what it asks for, whose only build is for another torch (docs/decisions/0001).
$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --disable-pip-version-check --progress-bar off -q torch==2.13.0
	$(BIN)/pip install --disable-pip-version-check --progress-bar off -q -e '.[dev]'
	$(BIN)/pip install --disable-pip-version-check --progress-bar off -q --no-deps piq==0.8.0
	touch $@ $(VENV)/.runtime

# What the tests use besides Python: real browsers, real speech engines, and a sound card and a
# screen that need no hardware.
PROGRAMS := chromium firefox-esr espeak-ng flite festival pulseaudio paplay Xvfb patch node npm
LIBRARIES := libportaudio.so.2 alsa-lib/libasound_module_pcm_pulse.so \
	gstreamer-1.0/libgstwebrtc.so gstreamer-1.0/libgstnice.so gstreamer-1.0/libgstvpx.so \
	girepository-1.0/GstWebRTC-1.0.typelib dist-packages/gi/overrides/Gst.py
PACKAGES := chromium firefox-esr espeak-ng flite festival festvox-us-slt-hts \
	pulseaudio pulseaudio-utils libportaudio2 libasound2-plugins xvfb patch
# Debian's npm is large: only where there is none yet.
PACKAGES += $(if $(shell command -v npm),,nodejs npm)
# Another WebRTC stack (docs/interop.md).
PACKAGES += python3-gst-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
	gstreamer1.0-plugins-bad gstreamer1.0-nice gir1.2-gst-plugins-base-1.0 \
	gir1.2-gst-plugins-bad-1.0
system-packages:
	@missing=""; for p in $(PROGRAMS); do command -v $$p >/dev/null || missing="$$missing $$p"; done; \
	for l in $(LIBRARIES); do ls /usr/lib/*/$$l >/dev/null 2>&1 || missing="$$missing $$l"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(PACKAGES); \
		else echo "tests want:$$missing (sudo apt-get install $(PACKAGES)); without them some tests are skipped"; fi; fi

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
