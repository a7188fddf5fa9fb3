"""Audio features to 3D face motion."""
