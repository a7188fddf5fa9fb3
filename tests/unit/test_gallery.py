"""Avatars that come with the engine: offered at once, prepared once, never deleted."""

from __future__ import annotations

import asyncio
import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import engine.avatars
from engine.avatars import DEFAULT_AVATAR, Avatars, Declared, default_portrait
from engine.errors import StorageError
from engine.face.analysis import FaceAnalyser
from engine.face.portrait import prepare_portrait
from engine.gallery import Gallery
from engine.media import UInt8
from engine.portraits import find_portrait, own_portraits
from engine.render.avatar import Avatar
from engine.serve import read_options
from tests.e2e.conftest import serving
from tests.e2e.testcard import Card, CardEngine
from tests.unit.test_avatars import Watch, avatar, opened

__all__ = ["avatar"]  # the fixture

PORTRAITS = {name: path for name, path in own_portraits().items() if name != DEFAULT_AVATAR}


class Preparing:
    """Counts, and takes long enough for two threads to meet."""

    def __init__(self, made: Avatar) -> None:
        self.made, self.calls = made, 0

    def __call__(self, _: Path) -> tuple[Avatar, bytes]:
        """The same avatar for every photo."""
        self.calls += 1
        threading.Event().wait(0.1)
        return self.made, b"picture"


def never(_: Path) -> tuple[Avatar, bytes]:
    raise AssertionError("prepared again")


def test_the_portraits_are_fit_to_ship() -> None:
    assert default_portrait() == own_portraits()[DEFAULT_AVATAR]
    assert len(PORTRAITS) >= 3
    for name, path in own_portraits().items():
        assert name.isascii() and name.islower() and name.isalpha(), "a word of the API, and a name"
        assert path.stat().st_size < 750_000
        with Image.open(path) as picture:
            assert picture.width == picture.height >= 512


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PORTRAITS))
def test_a_portrait_is_framed_as_its_avatar_will_be(name: str, tmp_path: Path) -> None:
    """So the picture of the gallery and the first frame of a session lie on each other."""
    analyser = FaceAnalyser()
    portrait = prepare_portrait(PORTRAITS[name], analyser)
    with Image.open(PORTRAITS[name]) as picture:
        assert portrait.enlargement * picture.width / 512 == pytest.approx(1, abs=0.08)
    assert portrait.fit.reprojection_error < 0.1
    offered = Gallery(PORTRAITS, opened(tmp_path)).picture(name)
    seen = analyser.observe_all(np.asarray(Image.open(io.BytesIO(offered))))[0]
    between = portrait.observation.landmarks[:, :2].mean(0) - seen.landmarks[:, :2].mean(0)
    assert np.abs(between).max() < 20


def test_prepared_once_for_all(tmp_path: Path, avatar: Avatar) -> None:
    preparing = Preparing(avatar)
    gallery = Gallery(PORTRAITS, opened(tmp_path))
    name = sorted(PORTRAITS)[0]
    threads = [threading.Thread(target=gallery.load, args=(name, preparing)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert preparing.calls == 1
    restarted = Gallery(PORTRAITS, opened(tmp_path))
    assert restarted.load(name, never).digest == avatar.digest
    with pytest.raises(KeyError):
        restarted.load("nobody", never)
    with pytest.raises(KeyError):
        restarted.picture("nobody")


def test_a_changed_portrait_is_prepared_again(tmp_path: Path, avatar: Avatar) -> None:
    photo = tmp_path / "somebody.png"
    photo.write_bytes(b"one")
    gallery = Gallery({"somebody": photo}, opened(tmp_path / "store", most=1))
    preparing = Preparing(avatar)
    gallery.load("somebody", preparing)
    photo.write_bytes(b"another")
    gallery.load("somebody", preparing)
    assert preparing.calls == 2


def test_a_full_disk_only_costs_time(
    tmp_path: Path, avatar: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)

    def full(*_: object) -> None:
        raise StorageError("No space left on device.")

    monkeypatch.setattr(store, "add", full)
    assert Gallery(PORTRAITS, store).load(sorted(PORTRAITS)[0], Preparing(avatar)) is avatar


def test_beside_uploads(tmp_path: Path, avatar: Avatar, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.zeros((512, 512, 3), np.uint8)
    monkeypatch.setattr(engine.avatars, "open_avatar", lambda *_: (avatar, picture))

    def decode(_: bytes) -> UInt8:
        return picture

    uploads, prepared = opened(tmp_path / "uploads"), opened(tmp_path / "gallery")
    avatars = Avatars(
        lambda _: Card(), None, default_portrait(), uploads, Gallery(PORTRAITS, prepared), decode,
        Watch(),
    )  # type: ignore[arg-type]  # fmt: skip
    assert prepared.records == [], "starting costs nothing"
    made = avatars.add(b"photo", Declared())
    listed = {record.id: record for record in avatars.records}
    assert list(listed) == [DEFAULT_AVATAR, *PORTRAITS, made.id]
    for name in PORTRAITS:
        assert listed[name].name == name.capitalize()
        assert listed[name].created == 0, "the API's null: nobody uploaded it"
        assert Image.open(io.BytesIO(avatars.picture(name))).size == (512, 512)
        assert avatars.get(name).avatar.digest == avatar.digest
        assert avatars.get(name) is avatars.get(name), "held in memory"
        with pytest.raises(KeyError):
            avatars.remove(name)
        assert avatars.get(name).id == name
    assert [record.id for record in uploads.records] == [made.id]
    assert len(prepared.records) == len(PORTRAITS)


def test_chosen_by_name() -> None:
    name = sorted(PORTRAITS)[0]
    config, _ = read_options(["--avatar", name])
    assert find_portrait(config.render.portrait) == PORTRAITS[name]
    assert find_portrait("somewhere/me.jpg") == Path("somewhere/me.jpg")


def test_over_http() -> None:
    card = CardEngine()
    card.avatars.append(replace(card.avatars[0], id="kofi", name="Kofi"))

    async def scenario() -> None:
        async with serving(card) as (base, http):
            async with http.get(f"{base}/avatars") as response:
                listed = await response.json()
            assert listed[1] == {
                "id": "kofi", "name": "Kofi", "picture": "/avatars/kofi/picture", "created": None,
                "consent": False,
            }  # fmt: skip

    asyncio.run(scenario())
