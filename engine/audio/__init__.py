"""Sound in: framing, resampling, features, voice activity."""
