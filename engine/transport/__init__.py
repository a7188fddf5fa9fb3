"""WebRTC and HTTP: the only place that knows PyAV, aiortc and asyncio."""
