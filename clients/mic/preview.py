"""A window with the avatar in it, with what Python brings along (tkinter) and Pillow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PIL import Image

from clients.mic.devices import MicrophoneError
from clients.mic.sinks import Latest
from engine.media import FPS

_COLUMNS = 80
_ALTERNATIVE = "or add --headless"


class Preview:
    """Shows the newest picture 25 times a second, in the main thread.

    Args:
        latest: where pictures are taken from.

    Raises:
        MicrophoneError: without tkinter, or without a screen.
    """

    def __init__(self, latest: Latest) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise MicrophoneError(
                "this Python has no tkinter for the preview window; install it "
                f"(Debian, Ubuntu: sudo apt install python3-tk), {_ALTERNATIVE}"
            ) from error
        self._latest = latest
        self._tk = ImageTk
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise MicrophoneError(f"there is no screen for the preview: {error}; {_ALTERNATIVE}"
                                  ) from error  # fmt: skip
        self._root.title("Vivace")
        self._root.configure(background="black")
        self._picture = tkinter.Label(self._root, background="black", borderwidth=0)
        self._picture.pack(fill="both", expand=True)
        # Of fixed width: the window must not change its size with every number.
        self._status = tkinter.Label(
            self._root, foreground="white", background="black", font="TkFixedFont", anchor="w",
            width=_COLUMNS,
        )  # fmt: skip
        self._status.pack(fill="x")
        self._shown: Any = None
        self._photo: Any = None
        self._root.protocol("WM_DELETE_WINDOW", self._root.quit)

    def run(self, over: Callable[[], bool], status: Callable[[], str | None]) -> None:
        """Show until the window is closed or ``over`` says so.

        Args:
            over: asked 25 times a second.
            status: a new line for below the picture, or None.
        """

        def step() -> None:
            if over():
                self._root.quit()
                return
            text = status()
            if text is not None:
                self._status.configure(text=text)
            self._show()
            self._root.after(1000 // FPS, step)

        step()
        self._root.mainloop()
        self._root.destroy()

    def _show(self) -> None:
        image = self._latest.image
        if image is None or image is self._shown:
            return
        self._shown = image
        if self._photo is None or (self._photo.width(), self._photo.height()) != image.shape[1::-1]:
            self._photo = self._tk.PhotoImage(Image.fromarray(image))
            self._picture.configure(image=self._photo)
        else:
            self._photo.paste(Image.fromarray(image))
