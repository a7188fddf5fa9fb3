"""A microphone for the avatar, on the desktop: ``python -m clients.mic --help``.

PortAudio ─▶ Microphone ─▶ Listener ─▶ Avatar (in this process, or a server) ─▶ Sinks
             bounded       48 kHz       engine.session / WebRTC                 preview, file,
             queue         mono                                                 camera, speaker
"""
