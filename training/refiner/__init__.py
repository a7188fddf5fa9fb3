"""Training of the mouth refiner by self-reenactment of video clips."""
