"""Photo to moving picture: avatar constants, the network that draws, the stage that runs it."""
