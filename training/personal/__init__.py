"""A person's own avatar from a video of them talking: photo, blendshapes and mouth are theirs."""
