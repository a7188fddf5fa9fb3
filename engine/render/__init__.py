"""Photo to moving picture: avatar constants, the warp-and-repair network, the stage that runs it."""
