"""The batcher: its policy as a pure machine, then threads, errors and real networks."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import EngineConfig, RuntimeConfig
from engine.errors import ArtifactError, BackendError
from engine.media import MotionFrame
from engine.motion.window import MotionWindow
from engine.render.renderer import Renderer
from engine.runtime.base import Array, TensorSpec
from engine.runtime.batcher import Batcher, Expired, Item, Lane, Schedule
from engine.runtime.load import load_network
from engine.runtime.rows import HostRows, Placed, Row, Seating
from tests.networks import random_avatar, speech_features

DEBT, PERIOD, PATIENCE = 0.4, 0.04, 3
LANES = {
    "render": Lane(sizes=(1, 2, 4), period=PERIOD),
    "motion": Lane(sizes=(1, 3), period=2 * PERIOD),
}

requests = st.lists(
    st.tuples(
        st.integers(0, 4),  # session
        st.sampled_from(sorted(LANES)),
        st.integers(0, 60),  # milliseconds after the previous request
    ),
    max_size=60,
)


class Simulation:
    """A device that takes ``service`` seconds a batch, and the record of what it did."""

    def __init__(self, schedule: Schedule[int], service: float) -> None:
        self.schedule = schedule
        self.service = service
        self.now = 0.0
        self.added: dict[int, tuple[Item[int], float]] = {}
        self.answers: Counter[int] = Counter()
        self.waits: dict[int, float] = {}
        self.batches: list[tuple[float, list[Item[int]], int]] = []

    def run_until(self, time_: float) -> None:
        while self.schedule.waiting and self.now < time_:
            self.step()
        self.now = max(self.now, time_)

    def step(self) -> None:
        taken = self.schedule.take(self.now)
        for item in taken.expired:
            self.answers[item.payload] += 1
        if taken.batch:
            self.batches.append((self.now, list(taken.batch), taken.size))
        self.now += self.service
        for item in taken.batch:
            self.answers[item.payload] += 1
            self.waits[item.payload] = self.now - self.added[item.payload][1]
        self.schedule.done(taken.batch, self.now)

    def add(self, session: int, lane: str) -> None:
        number = len(self.added)
        self.added[number] = (self.schedule.add(session, lane, number, self.now), self.now)


def simulate(
    asked: list[tuple[int, str, int]], service: float, lanes: Mapping[str, Lane]
) -> Simulation:
    simulation = Simulation(Schedule(lanes, DEBT, PATIENCE), service)
    at = 0.0
    for session, lane, gap in asked:
        at += gap / 1000
        simulation.run_until(at)
        simulation.add(session, lane)
    simulation.run_until(float("inf"))
    return simulation


@given(requests, st.sampled_from([0.001, 0.02, 0.1]))
def test_every_item_is_answered_once_and_batches_are_of_different_sessions(
    asked: list[tuple[int, str, int]], service: float
) -> None:
    done = simulate(asked, service, LANES)
    assert done.answers == Counter(range(len(asked)))
    for _, batch, size in done.batches:
        assert len({item.session for item in batch}) == len(batch)
        assert len({item.lane for item in batch}) == 1
        lane = LANES[batch[0].lane]
        assert size in lane.sizes
        assert size == lane.size_for(len(batch)), "the smallest size that fits"
        assert len(batch) <= size
    # A session's items keep their order.
    for session in range(5):
        ran = [i.payload for _, batch, _ in done.batches for i in batch if i.session == session]
        assert ran == sorted(ran)


@given(requests, st.sampled_from([0.001, 0.02, 0.1]))
def test_the_earliest_deadline_goes_first(
    asked: list[tuple[int, str, int]], service: float
) -> None:
    schedule: Schedule[int] = Schedule(LANES, DEBT, PATIENCE)
    heads: dict[int, Item[int]] = {}
    for number, (session, lane, gap) in enumerate(asked):
        item = schedule.add(session, lane, number, number * gap / 1000)
        heads.setdefault(session, item)
    if not asked:
        return
    taken = schedule.take(100.0)
    earliest = min(item.deadline for item in heads.values())
    assert taken.batch[0].deadline == earliest
    deadlines = [item.deadline for item in taken.batch]
    assert deadlines == sorted(deadlines)
    left = [i for i in heads.values() if i.lane == taken.batch[0].lane and i not in taken.batch]
    assert all(item.deadline >= deadlines[-1] for item in left)


@given(requests, st.sampled_from([0.005, 0.02, 0.1]))
def test_nobody_waits_longer_than_the_bound(
    asked: list[tuple[int, str, int]], service: float
) -> None:
    """From the moment an item is its session's next: the debt, two periods, and everybody once."""
    done = simulate(asked, service, LANES)
    sessions = {session for session, _, _ in asked}
    bound = DEBT + 2 * PERIOD + (len(sessions) + 1) * service
    finished: dict[int, float] = {}
    for began, batch, _ in done.batches:
        for item in batch:
            arrived = done.added[item.payload][1]
            head_since = max(arrived, finished.get(item.session, 0.0))
            assert began - head_since <= bound + 1e-9
            finished[item.session] = began + service


def test_a_flood_cannot_starve_a_live_session() -> None:
    """One session queues 500 items at once; others ask at 25 fps and stay on time."""
    simulation = Simulation(Schedule({"render": Lane(sizes=(1,))}, DEBT, PATIENCE), 0.01)
    for _ in range(500):
        simulation.add(99, "render")
    live: list[int] = []
    for frame in range(50):
        simulation.run_until(frame * 0.04)
        for session in range(3):
            live.append(len(simulation.added))
            simulation.add(session, "render")
    simulation.run_until(float("inf"))
    assert max(simulation.waits[number] for number in live) <= 0.04 + 0.01 + 1e-9
    assert sum(simulation.answers.values()) == 500 + 150


def test_floods_stand_behind_a_live_session() -> None:
    """Five sessions run at twice real time; who asks at 25 fps waits for one of them at most."""
    simulation = Simulation(Schedule({"render": Lane(sizes=(1,))}, DEBT, PATIENCE), 0.004)
    for _ in range(150):
        for session in range(5):
            simulation.add(session, "render")
    simulation.run_until(1.0)  # by now they have their debt
    live: list[int] = []
    for frame in range(25):
        simulation.run_until(1.0 + frame * 0.04)
        live.append(len(simulation.added))
        simulation.add(99, "render")
    assert simulation.schedule.waiting > 100, "they are still at it"
    simulation.run_until(float("inf"))
    assert max(simulation.waits[number] for number in live) <= 0.008 + 1e-9


def test_a_debt_is_forgiven() -> None:
    """Who flooded an idle device is served again within the bound, however full it is now."""
    simulation = Simulation(Schedule({"render": Lane(sizes=(1,))}, DEBT, PATIENCE), 0.001)
    for _ in range(200):
        simulation.add(0, "render")
    simulation.run_until(0.5)  # 200 items in 0.2 s: 8 s of real time
    simulation.service = 0.02
    start, number = simulation.now, 0
    for frame in range(60):  # 3 sessions need 1.5 times what there is
        simulation.run_until(max(simulation.now, start + frame * 0.04))
        for session in (1, 2, 3):
            simulation.add(session, "render")
        if frame == 0:
            number = len(simulation.added)
            simulation.add(0, "render")
    simulation.run_until(float("inf"))
    assert simulation.waits[number] <= DEBT + 2 * PERIOD + 5 * 0.02 + 1e-9


def test_what_is_in_flight_keeps_its_session_waiting() -> None:
    """Also on a device that takes a second batch before the first is done."""
    schedule: Schedule[int] = Schedule(LANES)
    for number in range(2):
        for session in "ab":
            schedule.add(session, "render", number, 0.0)
    first = schedule.take(0.0)
    assert [(i.session, i.payload) for i in first.batch] == [("a", 0), ("b", 0)]
    assert schedule.take(0.0).batch == ()
    schedule.done(first.batch[:1], 0.1)
    assert [(i.session, i.payload) for i in schedule.take(0.1).batch] == [("a", 1)]


def test_equal_deadlines_take_turns() -> None:
    schedule: Schedule[int] = Schedule({"render": Lane(sizes=(1,))})
    order = []
    for _ in range(3):
        for session in "abc":
            schedule.add(session, "render", 0, 0.0)
    for _ in range(9):
        taken = schedule.take(0.0)
        order.append(taken.batch[0].session)
        schedule.done(taken.batch, 0.0)
    assert order == list("abcabcabc")


def test_late_items_expire_but_not_for_ever() -> None:
    schedule: Schedule[int] = Schedule({"render": Lane(sizes=(1,), expires=0.04)}, DEBT, PATIENCE)
    kinds = []
    for round_ in range(8):
        now = float(round_)
        schedule.add("a", "render", round_, now)
        taken = schedule.take(now + 0.5)
        kinds.append("expired" if taken.expired else "run")
        schedule.done(taken.batch, now + 0.5)
        assert schedule.waiting == 0
    assert kinds == ["expired"] * 3 + ["run"] + ["expired"] * 3 + ["run"]


@settings(max_examples=50)
@given(requests, st.sampled_from([0.02, 0.1]))
def test_expiry_keeps_every_promise(asked: list[tuple[int, str, int]], service: float) -> None:
    lanes = LANES | {"render": Lane(sizes=(1, 2, 4), period=PERIOD, expires=0.02)}
    done = simulate(asked, service, lanes)
    assert done.answers == Counter(range(len(asked)))
    motion = {number for number, (_, lane, _) in enumerate(asked) if lane == "motion"}
    assert motion <= set(done.waits), "a lane that carries state loses nothing"


def test_sessions_that_ended_are_forgotten() -> None:
    schedule: Schedule[int] = Schedule({"render": Lane()})
    for session in range(1000):
        schedule.add(session, "render", 0, float(session))
        taken = schedule.take(float(session))
        schedule.done(taken.batch, float(session))
    assert len(schedule._queues) < 100


def test_impossible_sizes_are_refused() -> None:
    for sizes in ((), (2, 1), (0, 1), (1, 1)):
        with pytest.raises(ValueError, match="sizes"):
            Lane(sizes=sizes)


# --- rows -----------------------------------------------------------------------------------------

SINGLE = {"x": TensorSpec((1, 3)), "c": TensorSpec((2, 3))}
OUT = {"y": TensorSpec((1, 3))}


class Arithmetic:
    """y = 10 x + sum(c), row by row, in NumPy; notes every call. Rows of zeros divide by zero."""

    def __init__(self, batch: int, gate: threading.Semaphore | None = None) -> None:
        self.batch = batch
        # The two layouts a batched network may have, both.
        self.inputs = {"x": TensorSpec((batch, 3)), "c": TensorSpec((batch, 2, 3))}
        if batch == 1:
            self.inputs = SINGLE
        self.outputs = {"y": TensorSpec((batch, 3))}
        self.calls: list[dict[str, Array]] = []
        self.gate = gate
        self.closed = False
        self.name = "numpy"

    def bind(self, name: str, array: Array, /) -> None:
        raise AssertionError("rows bind nothing")

    def run(self, feeds: Mapping[str, Array], /) -> dict[str, Array]:
        self.calls.append({name: value.copy() for name, value in feeds.items()})
        if self.gate is not None:
            self.gate.acquire()
        if np.any(feeds["x"] == 666):
            raise BackendError("device lost")
        with np.errstate(divide="raise"):
            1 / feeds["c"]
        constants = feeds["c"].reshape(self.batch, 2, 3).sum(1)
        return {"y": (10 * feeds["x"] + constants).astype(np.float32)}

    def fork(self) -> Arithmetic:
        return self

    def close(self) -> None:
        self.closed = True


def host_rows(backend: Arithmetic) -> HostRows:
    return HostRows(backend, backend.batch, SINGLE, OUT)


def constant(value: float) -> Array:
    return np.full((2, 3), value, np.float32)


def feed(value: float) -> Array:
    return np.full((1, 3), value, np.float32)


def answer(x: float, c: float) -> Array:
    return np.full((1, 3), 10 * x + 2 * c, np.float32)


def test_rows_hold_their_own_constants_and_padding_computes() -> None:
    rows = host_rows(Arithmetic(4))
    placed = [rows.place("c", constant(c)) for c in (1, 2, 3)]
    many = [Row({"x": feed(i)}, {"c": placed[i]}) for i in range(3)]
    for chosen in ([0], [0, 1, 2], [2, 1], [1], [0, 2]):
        results = rows.run_rows([many[i] for i in chosen])
        for i, result in zip(chosen, results, strict=True):
            np.testing.assert_array_equal(result["y"], answer(i, i + 1))


def test_outputs_of_rows_belong_to_their_callers() -> None:
    rows = host_rows(Arithmetic(2))
    placed = rows.place("c", constant(1))
    first = rows.run_rows([Row({"x": feed(1)}, {"c": placed})] * 2)
    kept = first[0]["y"].copy()
    rows.run_rows([Row({"x": feed(5)}, {"c": placed})])
    np.testing.assert_array_equal(first[0]["y"], kept)
    assert first[0]["y"].base is None
    first[0]["y"][:] = 0
    np.testing.assert_array_equal(first[1]["y"], kept)


def test_a_fed_input_replaces_what_was_placed_in_its_row() -> None:
    rows = host_rows(Arithmetic(2))
    placed = rows.place("c", constant(7))
    bound = Row({"x": feed(1)}, {"c": placed})
    fed = Row({"x": feed(1), "c": constant(2)}, {})
    for row, expected in ((bound, answer(1, 7)), (fed, answer(1, 2)), (bound, answer(1, 7))):
        np.testing.assert_array_equal(rows.run_rows([row])[0]["y"], expected)


def test_a_session_keeps_its_row_as_long_as_it_is_free() -> None:
    seating = Seating(3)
    a, b, c = (Row({}, {"c": Placed(None)}) for _ in range(3))
    for row, at in zip((a, b), seating.seat([a, b]), strict=True):
        assert seating.stale(at, row.constants) == ["c"]
    assert seating.seat([b, a]) == [1, 0]
    assert seating.seat([c, b]) == [2, 1]
    assert seating.stale(2, c.constants) == ["c"]
    assert seating.stale(1, b.constants) == []
    assert sorted(seating.seat([a, b, c])) == [0, 1, 2]


def test_other_shapes_are_no_rows() -> None:
    with pytest.raises(ArtifactError, match="not 3 rows"):
        HostRows(Arithmetic(2), 3, SINGLE, OUT)
    with pytest.raises(ArtifactError, match="stands for batch 2"):
        Batcher({"a": {2: host_rows(Arithmetic(4))}})


# --- threads --------------------------------------------------------------------------------------


def within(batcher: Batcher) -> dict[int, Arithmetic]:
    return {size: rows._backend for size, rows in batcher._networks["net"].items()}  # type: ignore[attr-defined, misc]


def make(sizes: Sequence[int], gate: threading.Semaphore | None = None, **lane: float) -> Batcher:
    return Batcher(
        {"net": {size: host_rows(Arithmetic(size, gate)) for size in sizes}},
        {"net": Lane(**lane)},  # type: ignore[arg-type]
    )


def eventually(condition: object, seconds: float = 10) -> None:
    limit = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < limit, "did not happen"
        time.sleep(0.001)


def test_many_sessions_get_their_own_answers() -> None:
    batcher = make((1, 2, 4))
    clients = [batcher.client("net") for _ in range(9)]
    for number, client in enumerate(clients):
        client.bind("c", constant(number + 1))

    def session(number: int) -> None:
        for frame in range(50):
            result = clients[number].run({"x": feed(frame)})["y"]
            np.testing.assert_array_equal(result, answer(frame, number + 1))

    with ThreadPoolExecutor(9) as pool:
        for future in [pool.submit(session, number) for number in range(9)]:
            future.result(timeout=30)
    stats = batcher.stats["net"]
    assert stats.items == 450
    assert stats.batches < 450, "sessions that wait together go together"
    assert stats.padding == sum(
        size * len(backend.calls) for size, backend in within(batcher).items()
    ) - 450  # fmt: skip
    batcher.close()


def test_it_takes_what_waits_and_does_not_wait_for_more() -> None:
    gate = threading.Semaphore(0)
    batcher = make((1, 4), gate)
    first, *rest = [batcher.client("net") for _ in range(4)]
    for client in (first, *rest):
        client.bind("c", constant(1))
    with ThreadPoolExecutor(4) as pool:
        begun = pool.submit(first.run, {"x": feed(1)})
        eventually(lambda: within(batcher)[1].calls)  # alone, at once, at batch 1
        others = [pool.submit(client.run, {"x": feed(2)}) for client in rest]
        eventually(lambda: batcher._schedule.waiting == 3)
        gate.release(2)
        for future in (begun, *others):
            future.result(timeout=10)
    assert [len(backend.calls) for backend in within(batcher).values()] == [1, 1]
    assert batcher.stats["net"].padding == 1
    batcher.close()


def test_an_error_reaches_the_callers_of_its_batch_only() -> None:
    gate = threading.Semaphore(0)
    batcher = make((1, 2), gate)
    clients = [batcher.client("net") for _ in range(4)]
    for client in clients:
        client.bind("c", constant(1))
    with ThreadPoolExecutor(4) as pool:
        before = pool.submit(clients[0].run, {"x": feed(1)})
        eventually(lambda: within(batcher)[1].calls)
        bad = pool.submit(clients[1].run, {"x": feed(666)})
        eventually(lambda: batcher._schedule.waiting == 1)
        beside = pool.submit(clients[2].run, {"x": feed(2)})
        eventually(lambda: batcher._schedule.waiting == 2)
        after = pool.submit(clients[3].run, {"x": feed(3)})
        eventually(lambda: batcher._schedule.waiting == 3)
        gate.release(9)
        np.testing.assert_array_equal(before.result(10)["y"], answer(1, 1))
        errors = [future.exception(10) for future in (bad, beside)]
        assert all(isinstance(e, BackendError) and "device lost" in str(e) for e in errors)
        assert errors[0] is not errors[1]
        np.testing.assert_array_equal(after.result(10)["y"], answer(3, 1))
    assert batcher.stats["net"].failed == 2
    # And the session that was hit goes on.
    np.testing.assert_array_equal(clients[1].run({"x": feed(4)})["y"], answer(4, 1))
    batcher.close()


def test_an_ill_shaped_item_fails_before_it_meets_others() -> None:
    batcher = make((1,))
    client = batcher.client("net")
    with pytest.raises(BackendError, match=r"missing input\(s\) c"):
        client.run({"x": feed(1)})
    client.bind("c", constant(1))
    with pytest.raises(BackendError, match=r"expected float32\[1, 3\]"):
        client.run({"x": np.zeros((2, 3), np.float32)})
    assert batcher.stats["net"].batches == 0
    with pytest.raises(BackendError, match="has no 'other'; it has net"):
        batcher.client("other")
    client.close()
    with pytest.raises(BackendError, match="used after close"):
        client.run({"x": feed(1)})
    batcher.close()


def test_late_items_are_answered_with_expired() -> None:
    gate = threading.Semaphore(0)
    batcher = make((1,), gate, expires=0.0, period=0.01)
    first, second = batcher.client("net"), batcher.client("net")
    for client in (first, second):
        client.bind("c", constant(1))
    with ThreadPoolExecutor(2) as pool:
        runs = pool.submit(first.run, {"x": feed(1)})
        eventually(lambda: within(batcher)[1].calls)
        late = pool.submit(second.run, {"x": feed(1)})
        eventually(lambda: batcher._schedule.waiting == 1)
        time.sleep(0.05)
        gate.release(9)
        assert isinstance(late.exception(10), Expired)
        assert runs.result(10)
    assert batcher.stats["net"].expired == 1
    batcher.close()


def test_close_releases_everybody() -> None:
    gate = threading.Semaphore(0)
    batcher = make((1,), gate)
    backend = within(batcher)[1]
    clients = [batcher.client("net") for _ in range(3)]
    for client in clients:
        client.bind("c", constant(1))
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(client.run, {"x": feed(1)}) for client in clients]
        eventually(lambda: backend.calls and batcher._schedule.waiting == 2)
        closing = pool.submit(batcher.close)
        errors = []
        eventually(lambda: sum(future.done() for future in runs) == 2)
        errors = [future.exception() for future in runs if future.done()]
        assert all("closed" in str(error) for error in errors)
        gate.release()
        closing.result(10)
        assert sum(future.exception(10) is None for future in runs) == 1, "what ran was answered"
    assert backend.closed
    with pytest.raises(BackendError, match="was closed"):
        clients[0].run({"x": feed(1)})
    batcher.close()


def test_a_network_that_loses_an_answer_hangs_nobody() -> None:
    class Forgetful(HostRows):
        def run_rows(self, rows: Sequence[Row], /) -> list[dict[str, Array]]:
            return super().run_rows(rows)[:-1]

    batcher = Batcher({"net": {1: Forgetful(Arithmetic(1), 1, SINGLE, OUT)}})
    client = batcher.client("net")
    client.bind("c", constant(1))
    with pytest.raises(BackendError, match="1 rows gave 0 answers"):
        client.run({"x": feed(1)})
    batcher.close()


# --- real networks --------------------------------------------------------------------------------


def test_two_real_sessions_equal_unbatched_ones() -> None:
    """Motion and pictures through one batcher: bit-equal to sessions side by side."""
    runtime = RuntimeConfig(threads=1, precision="f32")
    single = {name: load_network(name, runtime) for name in ("cmdt_k1", "render_512")}
    batcher = Batcher({name: {1: HostRows(net.fork())} for name, net in single.items()})
    clients = {name: batcher.client(name) for name in single}

    def session(networks: Mapping[str, object], seed: int) -> list[Array]:
        window = MotionWindow(networks["cmdt_k1"].fork(), EngineConfig().motion)  # type: ignore[attr-defined]
        renderer = Renderer(networks["render_512"], random_avatar(seed))  # type: ignore[arg-type]
        pictures: list[Array] = []
        for frame in speech_features(8, seed):
            for motion in window.push(frame):
                pictures += [picture.image for picture in renderer.push(motion)]
        return pictures

    expected = [session(single, seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda seed: session(clients, seed), (1, 2)))
    batcher.close()
    assert len(expected[0]) == 6
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.stack(mine), np.stack(theirs))
    assert np.abs(expected[0][0].astype(int) - expected[1][0]).mean() > 1, "two different avatars"


def test_the_renderer_needs_no_change() -> None:
    network = load_network("render_512", RuntimeConfig(threads=1, precision="f32"))
    batcher = Batcher({"render": {1: HostRows(network.fork())}})
    still = MotionFrame(np.zeros(58, np.float32), 0.0, 0)
    avatar = random_avatar(3)
    (mine,) = Renderer(batcher.client("render"), avatar).push(still)
    (theirs,) = Renderer(network, avatar).push(still)
    np.testing.assert_array_equal(mine.image, theirs.image)
    batcher.close()
