"""What talks to the engine from outside: the web page and the microphone client."""
