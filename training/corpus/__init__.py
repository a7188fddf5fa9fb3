"""Speech with exact phone times and the face motion that belongs to it, made from a seed."""
