"""Photo and frame analysis: faces, 478 landmarks, blendshapes, matte, rig, fit, portrait."""
