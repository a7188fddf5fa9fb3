"""Avatars on disk: found again, damaged, too many, no room; and the HTTP routes around them."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut
from yarl import URL

from engine.avatars import Avatars, Declared, default_portrait
from engine.config import EngineConfig, ServerConfig
from engine.errors import PortraitError, StorageError
from engine.face.analysis import FaceAnalyser
from engine.face.intake import Intake
from engine.gallery import Gallery
from engine.media import UInt8
from engine.pipeline import load_networks
from engine.render.avatar import Avatar
from engine.render.layout import network_inputs
from engine.render.renderer import Renderer
from engine.store import AvatarStore, Consent, data_folder
from tests.e2e.conftest import serving
from tests.e2e.testcard import CardEngine

CONSENT = Consent("I am in the picture.", "Ada", 5.0, "0" * 64)
GREAT = 10**12


class Watch:
    """A calendar that moves by a second whenever somebody looks."""

    def __init__(self) -> None:
        self.time = 100_000.0

    def __call__(self) -> float:
        """Seconds since 1970."""
        self.time += 1
        return self.time


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    """Not of a photo: the store does not care."""
    arrays = {
        name: np.zeros([int(n) for n in spec.shape], np.int64 if "origin" in name else np.float32)
        for name, spec in network_inputs().items()
        if name != "motion"
    }
    noise = np.random.default_rng(1).random(arrays["eyes_upper"].shape)
    arrays["eyes_upper"] = noise.astype(np.float32)  # so that it takes room on the disk
    return Avatar.from_arrays(arrays)


def opened(folder: Path, most: int = 10, most_bytes: int = GREAT) -> AvatarStore:
    return AvatarStore(folder, most, most_bytes, Watch())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".salt"}


def add(store: AvatarStore, photo: bytes, avatar: Avatar, consent: Consent | None = None) -> str:
    return store.add(store.identify(photo), avatar, b"picture of " + photo, consent, "").id


def test_found_again_after_a_restart(tmp_path: Path, avatar: Avatar) -> None:
    store = opened(tmp_path)
    first = store.add(store.identify(b"one"), avatar, b"a picture", CONSENT, "Ada")
    again = opened(tmp_path)
    assert again.records == [first]
    assert again.identify(b"one") == first.id
    assert again.identify(b"two") != first.id
    assert again.load(first.id).digest == avatar.digest
    assert again.picture(first.id) == b"a picture"
    assert again.record(first.id).consent == CONSENT
    assert again.size == first.size > 0


def test_ids_cannot_be_guessed_from_the_photo(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "one"), opened(tmp_path / "other")
    assert one.identify(b"photo") != other.identify(b"photo")
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o700


def test_deleting_leaves_nothing(tmp_path: Path, avatar: Avatar) -> None:
    store = opened(tmp_path)
    made = add(store, b"one", avatar, CONSENT)
    assert len(names(tmp_path)) == 1
    store.remove(made)
    assert names(tmp_path) == set()
    for call in (store.record, store.load, store.picture, store.remove, store.use):
        with pytest.raises(KeyError):
            call(made)
    assert opened(tmp_path).records == []


def test_the_photo_itself_is_not_kept(tmp_path: Path, avatar: Avatar) -> None:
    store = opened(tmp_path)
    photo = b"\xff\xd8\xff the bytes of the photo with its GPS position"
    store.add(store.identify(photo), avatar, b"picture", CONSENT, "")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"GPS" not in path.read_bytes()


def test_the_least_recently_used_makes_room(tmp_path: Path, avatar: Avatar) -> None:
    store = opened(tmp_path, most=3)
    ids = [add(store, b"%d" % n, avatar) for n in range(3)]
    store.use(ids[0])
    ids.append(add(store, b"3", avatar))
    assert {record.id for record in store.records} == {ids[0], ids[2], ids[3]}
    assert names(tmp_path) == {ids[0], ids[2], ids[3]}
    assert store.evicted == 1
    again = opened(tmp_path, most=3)  # the order of use is known after a restart, too
    add(again, b"4", avatar)
    assert ids[2] not in names(tmp_path)
    assert ids[0] in names(tmp_path)


def test_bytes_are_limited_together(tmp_path: Path, avatar: Avatar) -> None:
    one = opened(tmp_path / "measure")
    add(one, b"x", avatar)
    store = opened(tmp_path / "store", most_bytes=int(2.5 * one.size))
    for n in range(4):
        add(store, b"%d" % n, avatar)
    assert (len(store.records), store.evicted) == (2, 2)
    assert store.size <= 2.5 * one.size


def test_the_first_declaration_stands(tmp_path: Path, avatar: Avatar) -> None:
    store = opened(tmp_path)
    made = add(store, b"one", avatar)
    assert store.record(made).consent is None
    store.declare(made, CONSENT)
    store.declare(made, Consent("Something else.", "Eve", 9.0, "1" * 64))
    assert store.record(made).consent == CONSENT
    assert opened(tmp_path).record(made).consent == CONSENT


@pytest.mark.parametrize(
    "damage",
    [
        "entry cut", "entry text", "entry list", "entry deep", "entry types", "entry huge",
        "other id", "other version", "no avatar", "no entry", "no picture", "is a file",
    ],
)  # fmt: skip
def test_a_damaged_entry_is_removed_at_the_start(
    tmp_path: Path, avatar: Avatar, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path)
    good, bad = add(store, b"good", avatar), add(store, b"bad", avatar)
    folder = tmp_path / bad
    entry = folder / "entry.json"
    content = json.loads(entry.read_text())
    texts = {
        "entry cut": entry.read_text()[:40],
        "entry text": "\udcff",
        "entry list": "[1, 2]",
        "entry deep": "[" * 50_000,
        "entry types": json.dumps(content | {"size": "much"}),
        "entry huge": json.dumps(content | {"name": "x" * 100_000}),
        "other id": json.dumps(content | {"id": "../" + good}),
        "other version": json.dumps(content | {"preparation": 99}),
    }
    if damage in texts:
        entry.write_text(texts[damage], errors="surrogateescape")
    elif damage == "is a file":
        shutil.rmtree(folder)
        folder.write_text("no folder")
    else:
        file = {"no avatar": "avatar.npz", "no entry": "entry.json", "no picture": "picture.jpg"}
        (folder / file[damage]).unlink()
    again = opened(tmp_path)
    assert [record.id for record in again.records] == [good]
    assert bad[:6] in caplog.text
    assert again.load(good).digest == avatar.digest
    if damage != "is a file":  # what is none of ours is left alone
        assert names(tmp_path) == {good}
        assert again.damaged == 1


@pytest.mark.parametrize("damage", ["cut", "zip", "pickle", "exchanged", "gone"])
def test_a_damaged_avatar_is_removed_when_it_is_wanted(
    tmp_path: Path, avatar: Avatar, damage: str
) -> None:
    store = opened(tmp_path)
    good, bad = add(store, b"good", avatar), add(store, b"bad", avatar)
    path = tmp_path / bad / "avatar.npz"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-500])
    elif damage == "zip":
        path.write_bytes(b"PK\x03\x04 no zip")
    elif damage == "pickle":
        arrays = {**avatar.arrays, "unit": np.array([Trap()], object)}
        np.savez(path, **arrays)  # numpy pickles objects
    elif damage == "exchanged":
        arrays = {**avatar.arrays, "unit": np.full(1, 7, np.float32)}
        Avatar.from_arrays(arrays).save(path)
    else:
        path.unlink()
    with pytest.raises(KeyError):
        store.load(bad)
    assert not Trap.sprung
    assert names(tmp_path) == {good}
    assert (store.damaged, [record.id for record in store.records]) == (1, [good])


class Trap:
    """Does something when it is unpickled."""

    sprung = False

    def __setstate__(self, _state: object) -> None:
        """Called by pickle."""
        Trap.sprung = True


def test_a_damaged_picture_is_not_shown(tmp_path: Path, avatar: Avatar) -> None:
    store = opened(tmp_path)
    made = add(store, b"one", avatar)
    (tmp_path / made / "picture.jpg").write_bytes(b"<script>")
    with pytest.raises(KeyError):
        store.picture(made)
    assert store.records == []


def test_what_a_crash_left_is_cleared_and_foreign_things_stay(
    tmp_path: Path, avatar: Avatar
) -> None:
    store = opened(tmp_path)
    made = add(store, b"one", avatar)
    half = tmp_path / f".{made}.1234"
    half.mkdir()
    (half / "avatar.npz").write_bytes(b"half")
    os.utime(half, (1, 1))
    (tmp_path / f".{made}.5678").mkdir()  # another server is at it right now
    (tmp_path / "holiday.txt").write_text("mine")
    (tmp_path / ("a" * 32)).symlink_to(tmp_path / made)
    again = opened(tmp_path)
    assert [record.id for record in again.records] == [made]
    assert names(tmp_path) == {made, f".{made}.5678", "holiday.txt", "a" * 32}


def test_failing_writes_leave_no_half_avatar(
    tmp_path: Path, avatar: Avatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)
    good = add(store, b"good", avatar)
    wanted = store.identify(b"bad")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for where in (
        "os.fsync",
        "engine.store.write_private",
        "pathlib.Path.rename",
        "pathlib.Path.open",
    ):
        with monkeypatch.context() as patch:
            patch.setattr(where, full)
            with pytest.raises(StorageError, match="No space left on device"):
                store.add(wanted, avatar, b"picture", CONSENT, "")
        assert names(tmp_path) == {good}
        assert [record.id for record in store.records] == [good]
    assert store.add(wanted, avatar, b"picture", CONSENT, "").id == wanted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte and a half, where the system lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("mounting is not allowed here; test_failing_writes stands for it")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk(small_disk: Path, avatar: Avatar) -> None:
    store = opened(small_disk)
    made: list[str] = []
    with pytest.raises(StorageError, match="No space left on device"):
        for n in range(100):
            made.append(add(store, b"%d" % n, avatar))
    assert 1 <= len(made) < 10
    assert names(small_disk) == set(made)
    assert [record.id for record in opened(small_disk).records] == made
    store.remove(made.pop(0))
    made.append(add(store, b"again", avatar))
    assert store.load(made[-1]).digest == avatar.digest


def test_where_avatars_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIVACE_DATA", "/one")
    assert data_folder("/two") == Path("/two")
    assert data_folder() == Path("/one")
    monkeypatch.delenv("VIVACE_DATA")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "/three")
    assert data_folder() == Path("/three/vivace")


def photo(kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(astronaut()).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.slow
def test_a_photo_is_prepared_once(tmp_path: Path) -> None:
    """With the real networks: a restarted engine's first session needs no preparation."""
    networks = load_networks(EngineConfig(), lambda _: None)
    analyser = FaceAnalyser()
    intake = Intake()

    def avatars(decode: Callable[[bytes], UInt8]) -> Avatars:
        draw = partial(Renderer, networks.render)
        gallery = Gallery({}, opened(tmp_path / "gallery"))
        uploads = opened(tmp_path / "uploads")
        return Avatars(draw, analyser, default_portrait(), uploads, gallery, decode, Watch())

    try:
        first = avatars(intake.decode)
        made = first.add(photo(), Declared("It is me.", "Eileen", "Astronaut"))
        entry = first.get(made.id)
        assert entry.idle.image.shape == (512, 512, 3)
        with pytest.raises(PortraitError) as caught:
            first.add(b"no photo", Declared())
        assert caught.value.reason == "not_an_image"
    finally:
        intake.close()

    def never(_: bytes) -> UInt8:
        raise AssertionError("prepared again")

    second = avatars(never)
    assert [record.id for record in second.records] == ["default", made.id]
    again = second.get(made.id)
    assert again.avatar.digest == entry.avatar.digest
    assert np.array_equal(again.idle.image, entry.idle.image)
    assert second.get(made.id) is again, "held in memory"
    assert second.add(photo(), Declared()).id == made.id
    assert second.picture(made.id).startswith(b"\xff\xd8\xff")
    assert second.records[1].consent == made.consent
    second.remove(made.id)
    with pytest.raises(KeyError):
        second.get(made.id)
    networks.close()


def test_over_http() -> None:
    """The routes, on the test card's engine: forms, consent, names that are no ids."""
    engine = CardEngine()
    card = engine.avatars[0].picture
    statement = "I am in the picture; or I asked who is — ❤."

    async def scenario() -> None:
        async with serving(engine, ServerConfig(consent="required")) as (base, http):
            avatars = f"{base}/avatars"
            async with http.post(avatars, data=card) as response:
                assert (response.status, (await response.json())["error"]) == (422, "no_consent")
            assert len(engine.avatars) == 1
            form = aiohttp.FormData({"consent": statement, "subject": "Ada", "name": "Myself"})
            form.add_field("photo", card, filename="../../etc/passwd", content_type="text/html")
            async with http.post(avatars, data=form) as response:
                made = await response.json()
                assert response.status == 201
            assert (made["name"], made["consent"]) == ("Myself", True)
            assert datetime.fromisoformat(made["created"]).tzinfo is not None
            async with http.get(f"{avatars}/{made['id']}") as response:
                assert await response.json() == made
            async with http.get(avatars) as response:
                listed = await response.json()
            assert listed[1] == made
            assert listed[0]["consent"] is False
            async with http.get(base + made["picture"]) as response:
                assert response.content_type == "image/jpeg"
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert "no-store" in response.headers["Cache-Control"]
            async with http.get(f"{avatars}/{made['id']}/consent") as response:
                record = await response.json()
            assert (record["statement"], record["subject"]) == (statement, "Ada")
            assert record["photo_sha256"] == sha256(card).hexdigest()
            async with http.get(f"{avatars}/default/consent") as response:
                assert (response.status, (await response.json())["error"]) == (404, "no_consent")
            for extra in ({"params": {"consent": "Yes."}}, {"headers": {"X-Consent": "Yes."}}):
                async with http.post(avatars, data=card, **extra) as response:  # type: ignore[arg-type]
                    assert response.status == 201
            for name in ("nobody", "..%2f..%2fetc%2fpasswd", "%00", "a" * 3000, "%0d%0aX: y"):
                for path in ("", "/picture", "/consent"):
                    async with http.get(URL(f"{avatars}/{name}{path}", encoded=True)) as response:
                        assert response.status in (400, 404), name
                async with http.delete(URL(f"{avatars}/{name}", encoded=True)) as response:
                    assert response.status in (400, 404), name

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({"consent": "x" * 1001, "photo": b"x"}, 400, "bad_field"),
        ({"consent": "a\x00b", "photo": b"x"}, 400, "bad_field"),
        ({"consent": "a\u202eb", "photo": b"x"}, 400, "bad_field"),
        ({"consent": b"\xff\xfe", "photo": b"x"}, 400, "bad_field"),
        ({"name": "x" * 81, "photo": b"x"}, 400, "bad_field"),
        ({"other": "x", "photo": b"x"}, 400, "bad_field"),
        ({"consent": "yes"}, 422, "bad_photo"),
        ({"photo": b"x" * 1_500_000}, 413, "bad_photo"),
        ({"photo": "words"}, 422, "bad_photo"),
    ],
)
def test_bad_forms(fields: dict[str, str | bytes], status: int, error: str) -> None:
    async def scenario() -> None:
        async with serving(CardEngine(), ServerConfig(upload_mb=1)) as (base, http):
            form = aiohttp.FormData()
            for name, value in fields.items():
                form.add_field(name, io.BytesIO(value) if isinstance(value, bytes) else value)
            async with http.post(f"{base}/avatars", data=form) as response:
                assert (response.status, (await response.json())["error"]) == (status, error)
            for body in (b"", b"--x\r\nnonsense", b"--x\r\n\r\nname", b"--x"):
                kind = {"Content-Type": "multipart/form-data; boundary=x"}
                async with http.post(f"{base}/avatars", data=body, headers=kind) as response:
                    assert response.status in (400, 422)
            kind = {"Content-Type": "multipart/form-data"}
            async with http.post(f"{base}/avatars", data=b"x", headers=kind) as response:
                assert response.status == 400

    asyncio.run(scenario())


def test_a_full_disk_is_an_answer_and_sessions_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CardEngine()

    def full(*_: object) -> None:
        raise StorageError("The avatar cannot be stored: No space left on device.")

    monkeypatch.setattr(engine, "add_avatar", full)

    async def scenario() -> None:
        async with serving(engine) as (base, http):
            session = engine.create_session()
            async with http.post(f"{base}/avatars", data=b"x") as response:
                body = await response.json()
                assert (response.status, body["error"]) == (507, "storage")
                assert "No space left" in body["message"]
            assert engine.sessions == [session]

    asyncio.run(scenario())


def test_everything_at_once(tmp_path: Path, avatar: Avatar) -> None:
    """Threads that add, use, load and remove the same few avatars leave a consistent folder."""
    store = opened(tmp_path, most=3)
    strange: list[BaseException] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(12):
            name = b"%d" % random.integers(5)
            avatar_id = store.identify(name)
            try:
                match random.integers(4):
                    case 0 | 1:
                        add(store, name, avatar)
                    case 2:
                        assert store.load(avatar_id).digest == avatar.digest
                    case _:
                        store.remove(avatar_id)
            except KeyError:
                pass  # not there (any more)
            except BaseException as error:  # noqa: BLE001 - reported by the test itself
                strange.append(error)
            assert len(store.records) <= 5

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not strange
    kept = {record.id for record in store.records}
    assert kept == names(tmp_path)
    assert len(kept) <= 3
    assert {record.id for record in opened(tmp_path).records} == kept
    assert all(store.load(avatar_id).digest == avatar.digest for avatar_id in kept)
