"""What ``benchmarks loopback`` makes of a call, with calls whose answers are known."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from benchmarks import bargein, clicks, lossy, skew, sounds
from benchmarks.analysis import (
    Heard,
    arrival_by_slot,
    closes,
    decode,
    first_move,
    lag,
    last_audible,
    longest_gap,
    loudness,
    match,
    media_time,
    onset,
    slope,
    summary,
)
from benchmarks.calls import Part, on_time, spent
from benchmarks.impairment import Impairment, impair
from benchmarks.loopback import PARTS, _all, plot, run
from benchmarks.mouth import complete, held
from benchmarks.patience import Requester, skip_to_key
from benchmarks.peer import PACKET, RATE, Arrival, LoopbackPeer, SenderReport, Stream, Voice
from benchmarks.report import Result, table
from engine.media import Float32
from engine.transport.opus import OpusEncoder
from engine.transport.tracks import audio_frame
from tests.e2e.conftest import serving, until
from tests.e2e.testcard import CardEngine
from tests.fakes import speechlike

SLOT = 1920


def encoded(
    samples: Float32, first: int = 0, begin: float = 100.0, lost: tuple[int, ...] = ()
) -> list[Arrival]:
    """Opus packets that arrive every 20 ms."""
    encoder = OpusEncoder()
    arrivals = []
    for index in range(len(samples) // PACKET):
        part = samples[index * PACKET : (index + 1) * PACKET]
        (payload,), _ = encoder.encode(audio_frame(part, index * PACKET))
        stamp = (first + index * PACKET) % (1 << 32)
        if index not in lost:
            arrivals.append(Arrival(begin + index / 50, index, stamp, len(payload), payload))
    return arrivals


def video(slots: int, begin: float = 100.0, late: float = 0.005) -> list[Arrival]:
    """Pictures of two packets each."""
    return [
        Arrival(begin + slot / 25 + part * late, 2 * slot + part, slot * 3600, 900, b"")
        for slot in range(slots)
        for part in range(2)
    ]


def test_media_time_goes_on_where_timestamps_wrap() -> None:
    assert media_time([2**32 - 960, 0, 960, 2**32 - 1920]).tolist() == [0, 960, 1920, -960]
    assert media_time([]).tolist() == []


def test_sound_is_decoded_to_where_its_timestamps_say() -> None:
    voice = speechlike(2, RATE, seed=4)
    heard = decode(encoded(voice, first=2**32 - 5 * PACKET, lost=(20, 21)))
    assert len(heard.line) == len(voice)
    assert np.flatnonzero(np.isnan(heard.came)).tolist() == [20, 21]
    assert not heard.line[20 * PACKET : 22 * PACKET].any()
    place, score = match(voice[RATE : RATE + RATE // 2], heard.line)
    assert score > 0.9
    assert place - RATE == pytest.approx(skew.OPUS_SAMPLES, abs=24)
    assert heard.at(PACKET * 10 + 480) == pytest.approx(100.0 + 0.2 + 0.01)
    assert heard.sample(100.201) == 11 * PACKET
    assert np.isnan(heard.at(10**9))


def test_a_sound_is_not_found_in_silence() -> None:
    part = speechlike(1, RATE, seed=5)
    whole = np.concatenate([np.zeros(2 * RATE, np.float32), part, np.zeros(RATE, np.float32)])
    place, score = match(part, whole)
    assert place == 2 * RATE
    assert score == pytest.approx(1.0, abs=1e-3)
    assert match(part, whole[: 2 * RATE])[1] < 0.01


def test_ends_and_beginnings_of_sounds_are_found() -> None:
    line = np.zeros(RATE, np.float32)
    line[9600:14400] = 0.3
    assert onset(line) == 9600
    assert last_audible(line, 0.01) == 14400
    assert last_audible(line[:9600], 0.01) is None
    assert onset(np.zeros(RATE, np.float32)) == 0


def test_a_mouth_moves_when_it_leaves_its_rest() -> None:
    times = np.arange(50) / 25
    opening = np.where(times >= 1.2, 0.1, 0.01)
    assert first_move(times, opening, 0.9, 2.0, 0.03) == pytest.approx(1.2)
    assert np.isnan(first_move(times, opening, 0.9, 1.1, 0.03))
    # What wavers at rest is no movement.
    waver = opening + 0.015 * np.where(np.arange(50) % 2, 1, -1) * (times < 1.2)
    assert first_move(times, waver, 0.9, 2.0, 0.01) == pytest.approx(1.2)
    assert np.isnan(first_move(times, opening * 0 + 0.02, 0.9, 2.0, 0.03))


def test_a_mouth_is_closed_when_it_does_not_open_again() -> None:
    times = np.arange(50) / 25
    opening = np.where(times < 1.2, 0.1, 0.0)
    assert closes(times, opening, 1.0, 1.9, 0.03) == pytest.approx(1.2)
    opening[32] = 0.1
    assert closes(times, opening, 1.0, 1.9, 0.03) == pytest.approx(33 / 25)
    assert closes(times, opening * 0, 1.0, 1.9, 0.03) == 1.0
    assert np.isnan(closes(times, opening * 0 + 1, 1.0, 1.9, 0.03))
    assert np.isnan(closes(times, opening, 5.0, 6.0, 0.03))


@pytest.mark.parametrize("shift", [-0.12, 0.0, 0.05, 0.2])
def test_lags_are_found_between_frames_too(shift: float) -> None:
    t = np.arange(250) / 25
    a = np.sin(3 * t) + np.sin(7.3 * t + 1)
    b = np.sin(3 * (t - shift)) + np.sin(7.3 * (t - shift) + 1)
    found, agreement = lag(a, b, 1 / 25, 0.3)
    assert found == pytest.approx(shift, abs=0.006)
    assert agreement > 0.97
    assert lag(a, np.zeros(250), 1 / 25, 0.3)[1] == 0


def test_trends_do_not_follow_outliers() -> None:
    minutes = np.arange(4000) / 60
    values = 3.0 + 0.5 * minutes
    values[::7] += 500
    found, low, high = slope(minutes.tolist(), values.tolist())
    assert found == pytest.approx(0.5, abs=0.1)
    assert low <= found <= high
    assert slope([1, 2], [1, 5]) == (0.0, 0.0, 0.0)
    assert slope([1, 2, 3, 4], [1, float("nan"), 3, 4])[0] == pytest.approx(1)


def test_skew_of_arrivals_is_per_slot_and_signed() -> None:
    sound = encoded(speechlike(2, RATE))
    times, skews = skew.arrival_skew(sound, video(50, begin=100.0 + 0.010, late=0.005))
    assert len(times) == 50
    assert skews == pytest.approx(0.015, abs=1e-6)
    _, early = skew.arrival_skew(sound, video(50, begin=100.0 - 0.030, late=0.0))
    assert early == pytest.approx(-0.030, abs=1e-6)


def test_skew_of_sender_reports_is_what_a_browser_plays_by() -> None:
    sound, picture = Stream(), Stream()
    sound.arrivals.append(Arrival(0, 0, 5000, 1, b""))
    picture.arrivals.append(Arrival(0, 0, 777, 1, b""))
    sound.reports.append(SenderReport(1.0, 1000.0 + 2.0, 5000 + 2 * RATE))
    picture.reports.append(SenderReport(1.1, 1000.0 + 3.0, 777 + 90_000 * 3 - 90_000 // 25))
    assert skew.report_skew(sound, picture) == pytest.approx([0.040])
    assert len(skew.report_skew(Stream(), picture)) == 0


def test_content_skew_sees_a_mouth_that_trails_whatever_arrivals_say() -> None:
    voice = speechlike(24, RATE, seed=5)
    heard = Heard(voice, np.arange(len(voice) // PACKET) / 50)
    loud = loudness(voice, SLOT)
    for frames in (0, 2):
        trailing = np.concatenate([np.zeros(frames), loud])[: len(loud)]
        found = skew.content_lags(heard, list(range(len(loud))), trailing)
        assert len(found) == 2
        assert [late for _, late, _ in found] == pytest.approx([frames / 25] * 2, abs=0.008)
    assert skew.content_lags(heard, [], np.empty(0)) == []


def test_the_age_of_sound_is_measured_from_its_packet() -> None:
    said = speechlike(5, RATE, seed=6)
    voice = Voice(said)
    delay = 12 * PACKET  # the server speaks it 240 ms later
    out = np.concatenate([np.zeros(delay, np.float32), said])[: len(said)]
    voice.emitted = [100.0 + n / 50 for n in range(len(said) // PACKET)]
    departures = [at + 0.002 for at in voice.emitted]
    # The microphone's encoder has delayed it as well.
    out = np.roll(out, skew.OPUS_SAMPLES)
    sound = encoded(out, begin=100.0)
    pictures = video(125, begin=100.003, late=0.002)
    found = skew.ages(decode(sound), sound, pictures, voice, said, departures)
    assert len(found.at) > 80
    # A packet's first sample is sent 20 ms after it was captured: with its last one.
    assert np.median(found.handed) == pytest.approx(0.240 - 0.002, abs=0.021)
    assert found.encoded - found.handed == pytest.approx(0.005, abs=1e-6)


def test_syllables_are_answered_by_mouth_and_sound() -> None:
    spoken = sounds.clicks(4, seed=9)
    voice = Voice(spoken.samples)
    voice.emitted = [100.0 + n / 50 for n in range(len(spoken.samples) // PACKET)]
    said_at = np.array([voice.captured(begin) for begin in spoken.begins])
    assert said_at[0] == pytest.approx(100.0 + spoken.begins[0] / RATE - 0.02, abs=1e-6)
    delay = 0.3
    times = 100.0 + np.arange(400) / 25
    opening = np.full(400, 0.01)
    for at in said_at[:3]:  # the last one goes unseen
        opening[(times >= at + delay) & (times < at + delay + 0.4)] = 0.2
    shifted = np.roll(spoken.samples, round((delay - 0.02) * RATE) + 2 * skew.OPUS_SAMPLES)
    heard = Heard(shifted, 100.0 + np.arange(len(shifted) // PACKET) / 50)
    found = clicks.answers(spoken, said_at, (times, opening), (times + 0.04, opening), heard)
    assert np.isnan(found.pixels[3]) and np.isnan(found.motion[3])
    assert np.all((found.pixels[:3] >= delay - 1e-6) & (found.pixels[:3] < delay + 0.041))
    assert found.motion[:3] - found.pixels[:3] == pytest.approx(0.04, abs=1e-6)
    assert found.sound == pytest.approx(delay, abs=0.003)


def test_interrupts_are_timed_to_the_last_sound_and_the_closed_mouth() -> None:
    speech = sounds.breathless(4)
    limit = bargein.threshold_of(speech)
    line = np.concatenate([speech, np.zeros(2 * RATE, np.float32)])
    heard = Heard(line, 100.0 + np.arange(len(line) // PACKET) / 50)
    end = 100.0 + len(speech) / RATE
    ends = bargein.Interrupt(end - 0.045, end + 1)
    silent = bargein.Interrupt(end + 0.5, end + 1.5)
    assert bargein.silenced(heard, [ends, silent], limit) == pytest.approx(
        [0.045, float("nan")], abs=0.005, nan_ok=True
    )
    times = 100.0 + np.arange(200) / 25
    gaps = np.where(times < end + 0.08, 0.2, 0.01)
    found, opened = bargein.shut(times, gaps, [ends, silent], 0.05)
    assert opened == 1
    assert found == pytest.approx([0.045 + 0.08], abs=0.041)


def test_lost_packets_are_told_from_those_never_sent() -> None:
    packets = encoded(speechlike(2, RATE), lost=(30, 31))
    figures = lossy.sound_gaps(packets, 99, 200, "x")
    assert figures["x_sound_longest_hole_ms"] == 40
    assert figures["x_sound_packets_missing"] == pytest.approx(0.02)
    assert figures["x_sound_not_sent_packets"] == 0
    held_back = [
        Arrival(p.at, p.number - (2 if p.number > 31 else 0), p.timestamp, p.size, p.payload)
        for p in packets
    ]
    assert lossy.sound_gaps(held_back, 99, 200, "x")["x_sound_not_sent_packets"] == 2


def test_frames_freezes_and_bitrate_are_counted_within_their_time() -> None:
    shown = [(n + 0.5) / 25 for n in range(100)]
    assert lossy.share(shown, -0.001, 2.0) == pytest.approx(1.0, abs=0.01)
    burst = [at for at in shown if not 1 < at < 2] + [2.5] * 25
    assert lossy.share(burst, 0.0, 4.0) == 0.75
    assert lossy.rate(shown, 0, 3) == [25, 25, 25]
    assert longest_gap([1.0, 1.1, 2.5], 0.9, 3.0) == pytest.approx(1.4)
    assert longest_gap([], 0.0, 3.0) == 3.0
    assert lossy.bitrate(video(50, begin=0), 0, 2) == pytest.approx([360, 360], rel=0.05)


def test_slots_that_left_with_what_belongs_to_them_are_on_time() -> None:
    before = {f"avatar_playout_{n}_total": 5.0 for n in ("slots", "missed", "silence", "repeated",
                                                        "late")}  # fmt: skip
    after = before | {"avatar_playout_slots_total": 104.0, "avatar_playout_missed_total": 6.0}
    assert on_time(spent(before, after)) == pytest.approx(0.99)
    assert on_time(spent(before, before)) == 0
    with pytest.raises(KeyError):
        on_time(spent({}, {}))


def test_clicks_follow_silence_and_breathless_speech_has_none() -> None:
    track = sounds.clicks(5, seed=1)
    assert len(sounds.onsets()) >= 5
    for begin, syllable in zip(track.begins, track.syllables, strict=True):
        assert not track.samples[begin - RATE // 2 : begin].any()
        assert np.array_equal(track.samples[begin : begin + len(syllable)], syllable)
        assert np.abs(syllable[: RATE // 200]).max() > 0, "the first sample is the first sound"
    loud = loudness(sounds.breathless(4), RATE // 50)
    assert loud.min() > bargein.threshold_of(sounds.breathless(4))


def test_pictures_are_timed_by_their_last_packet() -> None:
    came = arrival_by_slot(video(3), 3600, last=True)
    assert complete([(1.0, 1, None), (2.0, 9, None)], came) == pytest.approx([100.045, 2.0])
    assert held({2: 0.1, 4: 0.2}, [1, 2, 3, 4, 5]) == pytest.approx(
        [float("nan"), 0.1, 0.1, 0.2, 0.2], nan_ok=True
    )
    assert np.isnan(held({}, [1])).all()


def test_percentiles_leave_out_what_was_not_seen() -> None:
    assert summary("x", [0.1, float("nan"), 0.1]) == {
        "x_p50_ms": 100.0, "x_p95_ms": 100.0, "x_p99_ms": 100.0}  # fmt: skip
    assert summary("x", [float("nan")]) == {}


def test_a_part_that_cannot_be_measured_fails_and_the_others_go_on() -> None:
    async def good() -> Part:
        return Part({"fine": 1.0})

    async def bad() -> Part:
        raise TimeoutError("the first picture within 20 s")

    class Bar:
        def set_description(self, _: str) -> None: ...

    first, second = asyncio.run(
        _all({"a": bad, "b": good}, Bar(), lambda: True)  # type: ignore[arg-type]
    )
    assert first.failures == ["a was not measured: the first picture within 20 s"]
    assert second.figures == {"fine": 1.0}
    with pytest.raises(SystemExit, match="no part 'tea'"):
        run(True, "", parts="tea,talk")
    assert "talk" in PARTS


def test_broken_promises_are_in_the_table_and_empty_results_can_be_drawn(tmp_path) -> None:  # type: ignore[no-untyped-def]
    result = Result("loopback", "c", {}, {}, {"clicks": 1.0}, ["n"], ["too slow"])
    assert table(result).endswith("n\nFAILED: too slow")
    plot(result, tmp_path / "empty.png")
    samples = {"barge_in_audio_ms": [1.0, 2.0], "skew_at_s": [0.0], "skew_by_second_ms": [1.0],
               "loss_bitrate_kbps": [500.0, 400.0]}  # fmt: skip
    plot(Result("loopback", "c", {}, samples, {"clicks": 1.0}), tmp_path / "some.png")
    assert (tmp_path / "some.png").stat().st_size > 10_000


def test_what_is_missing_is_asked_for_again_but_not_for_ever() -> None:
    requester = Requester()
    assert requester.due({7, 9}, 0.0) == []
    assert requester.due({7, 9}, 0.05) == []
    assert requester.due({7, 9}, 0.1) == [7, 9]
    assert requester.due({7, 9}, 0.2) == [], "the second time after 125 ms"
    assert requester.due({7, 9}, 0.225) == [7, 9]
    asked = [requester.due({9}, 1.0 + n) for n in range(30)]
    assert sum(9 in numbers for numbers in asked) == 7, "ten times in all"


def test_where_answers_take_long_it_asks_more_slowly() -> None:
    requester = Requester()
    for number in range(40):
        requester.due({number}, float(number))
        requester.due(set(), number + 0.5)
    assert requester.round_trip == pytest.approx(0.5, abs=0.01)
    assert requester.due({99}, 100.0) == []
    assert requester.due({99}, 100.3) == []
    assert requester.due({99}, 100.5) == [99]


def rtp(number: int, stamp: int, *, key: bool = False, begins: bool = True) -> RtpPacket:
    """A VP8 packet; ``key`` counts where a picture begins."""
    payload = bytes([0x10 if begins else 0x00, 0x00 if key else 0x01, 1, 2])
    packet = RtpPacket(payload_type=97, sequence_number=number, timestamp=stamp, payload=payload)
    packet._data = payload[1:]
    return packet


def test_pictures_go_on_with_a_whole_key_frame_behind_a_hole() -> None:
    buffer = JitterBuffer(capacity=128, is_video=True)
    first = 65_534  # numbers wrap inside
    lost = {(first + n) % 65_536 for n in (1, 3, 6)}
    for place in range(8):
        number = (first + place) % 65_536
        if number not in lost:
            buffer.add(rtp(number, place, key=place in {5, 7}))
    assert skip_to_key(buffer, lost) == set(), "the key frame at 5 lacks its second packet"
    buffer.add(rtp((first + 8) % 65_536, 7, begins=False))
    assert skip_to_key(buffer, lost) == set(), "that at 7 may go on"
    buffer.add(rtp((first + 9) % 65_536, 9))
    assert skip_to_key(buffer, lost) == lost
    shown = buffer._remove_frame(0)
    assert shown is not None and shown.timestamp == 7
    assert skip_to_key(buffer, set()) == set()


@pytest.mark.e2e
def test_a_patient_peer_sees_nearly_all_pictures_through_heavy_loss() -> None:
    async def scenario() -> tuple[int, float]:
        async with serving(CardEngine()) as (base, http):
            peer = LoopbackPeer(http, base, None, keep=False, patient=True)
            await peer.connect()
            await until(lambda: len(peer.pictures) > 5, 20)
            impair(peer.pc, Impairment(loss=0.1))
            before = len(peer.pictures)
            began = asyncio.get_running_loop().time()
            await asyncio.sleep(6)
            took = asyncio.get_running_loop().time() - began
            count = len(peer.pictures) - before
            await peer.close()
            return count, took

    count, took = asyncio.run(scenario())
    assert count > 0.7 * 25 * took


@pytest.mark.e2e
def test_a_tapped_call_knows_the_age_of_every_slot() -> None:
    said = speechlike(4, RATE, seed=8)

    async def scenario() -> LoopbackPeer:
        async with serving(CardEngine()) as (base, http):
            peer = LoopbackPeer(http, base, said, keep=False, tap=True)
            await peer.connect()
            await until(lambda: len(peer.pictures) > 90, 20)
            await peer.close()
            return peer

    peer = asyncio.run(scenario())
    sound, picture = (peer.streams[kind] for kind in ("audio", "video"))
    assert peer.voice is not None
    assert len(peer.departures) == pytest.approx(len(peer.voice.emitted), abs=2)
    assert all(len(stream.reports) >= 2 for stream in (sound, picture))
    heard = decode(sound.arrivals)
    found = skew.ages(heard, sound.arrivals, picture.arrivals, peer.voice, said, peer.departures)
    assert len(found.at) > 40
    # Never younger than a slot; on a busy machine much older, but not beyond the longest delay.
    assert 0.02 < np.median(found.handed) < 1.2
    assert np.median(found.encoded - found.handed) > -0.02
