"""Sections of docs/benchmarks.md that show one result each; those without their result say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from benchmarks.gather.sources import Source, head, row, value

Sources = Mapping[str, Source]
Rows = Sequence[tuple[str, str]]
_LATENCY = (
    ("sound to its frame at the encoder", "audio_to_encoder"),
    ("sound to its encoded picture at the peer", "audio_to_encoded"),
    ("syllable to a mouth seen to move", "click_to_mouth_pixels"),
    ("wish to connect to the first picture", "first_frame"),
    ("coming back to the first picture", "reconnect"),
    ("interrupt to silence", "barge_in_audio"),
    ("interrupt to a shut mouth, seen", "barge_in_mouth"),
    ("picture against sound", "skew"),
    ("lips against sound, seen and heard", "content_skew"),
    ("encoding a picture", "server_encode"),
)
_STAGES = (
    ("whole chain, sound to picture, a frame", "chain"), ("picture", "render"),
    ("motion network, a call", "cmdt_call"), ("features and voice", "features"),
    ("blinks, gaze, breath", "idle"),
)  # fmt: skip
_WORDS = (
    ("speech handed to an agent, to its first sound", "first_sound"),
    ("… to the picture of that sound", "first_frame"),
    ("… to lips that part", "first_mouth"),
)
_SLOTS: Rows = (
    ("slots on time, talking", "slots_on_time"),
    ("slots due", "slots"),
    ("CPU of the server, cores", "server_cores"),
    ("memory of the server, MiB", "server_rss_mb"),
    ("5 % loss, 50 ms jitter: frames shown", "loss_frames_shown"),
    ("… longest freeze, s", "loss_longest_freeze_s"),
    ("300 kbit/s: frames shown", "narrow_frames_shown"),
    ("… longest freeze, s", "narrow_longest_freeze_s"),
    ("full server: slots on time inside", "overload_inside_on_time"),
)
_SOAK: Rows = (
    ("minutes", "minutes"), ("growth of memory, %", "rss_growth"),
    ("growth of threads", "threads_growth"), ("of file descriptors", "fds_growth"),
    ("skew, ms a minute", "skew_slope_ms_per_min"), ("sessions lost", "sessions_lost"),
    ("requests failed", "requests_failed"), ("slots kept", "slots_kept"),
)  # fmt: skip
_STARTUP: Rows = (
    ("cold to ready, s", "cold_ready_s"), ("… the slowest", "cold_ready_worst_s"),
    ("cold to the first picture, s", "cold_first_frame_s"), ("warm to ready, s", "warm_ready_s"),
    ("warm to the first picture, s", "warm_first_frame_s"),
    ("an avatar from a photo, s", "avatar_upload_s"),
    ("its first use, s", "avatar_first_use_s"), ("its second use, s", "avatar_second_use_s"),
    ("its use after a restart, s", "avatar_after_restart_s"),
    ("an own avatar's first use, s", "gallery_first_use_s"),
    ("… second use, s", "gallery_second_use_s"),
    ("imports, s", "import_all_s"), ("size of the install, MB", "install_all_mb"),
    ("… of it networks and avatars, MB", "install_weights_mb"), ("pip install, s", "pip_install_s"),
)  # fmt: skip
_PICTURES: Rows = (
    ("identity, mean distance of portraits", "identity_mean"), ("… worst frame", "identity_worst"),
    ("sharpness ÷ the photo's", "speech_sharp"), ("flicker, levels", "speech_flicker"),
    ("mouth PSNR gained over a bent mesh, dB", "gain_mouth_psnr_over_affine"),
    ("… over the frozen photo", "gain_mouth_psnr_over_frozen"),
    ("mouths' Fréchet distance to real ones, ours", "mouth_distance_ours"),
    ("… a bent mesh's", "mouth_distance_affine"),
    ("… halves of the real", "mouth_distance_real_halves"),
    ("closed lips apart, px, mean", "lip_gap_px_mean"),
    ("drawing a frame, ms, p50", "render_p50_ms"),
)  # fmt: skip
_MARK: Rows = (
    ("found, VP8 at 200 kbit/s, 1 s", "vp8_200_1s_found"),
    ("found, H.264 at 200 kbit/s, 1 s", "h264_200_1s_found"),
    ("false alarms among unmarked", "unmarked_found"), ("PSNR, dB", "default_psnr_db"),
    ("cost a picture, ms", "mark_ms"),
)  # fmt: skip
_PERFORMERS = (
    "cmdt_k1",
    "cmdt_k2",
    "cmdt_k4",
    "teacher",
    "rule",
    "energy",
    "pylipsync",
    "shuffled",
)
_MOTION = (
    ("real talkers: r of lip opening, in sync", "real.unseen.{}.synced_r.median"),
    ("… as filed", "real.unseen.{}.opening_r.median"),
    ("p, b, m closed: recall", "real.unseen.{}.closure_recall"),
    ("… precision", "real.unseen.{}.closure_precision"),
    ("lip velocity ÷ real", "real.unseen.{}.lip_velocity_ratio"),
    ("head velocity ÷ real", "real.unseen.{}.head_velocity_ratio"),
    ("corpus: r of lip opening", "corpus.{}.speech.opening_r.median"),
    ("… lip error, inter-ocular", "corpus.{}.speech.lip_error"),
    ("… Fréchet distance", "corpus.{}.whole.frechet"),
    ("seam ratio (1: invisible)", "corpus.{}.whole.seam_ratio"),
)
_DEFAULT = "cmdt_k2"


def latency(sources: Sources) -> list[str]:
    """One session: stages, and server to peer."""
    lines = head("milliseconds", "p50", "p95", "p99")
    for name, series in (("stages", _STAGES), ("loopback", _LATENCY), ("speaking", _WORDS)):
        lines += _quantiles(sources, name, series)
    return [*lines, "", *_rows(sources, "loopback", _SLOTS)]


def _quantiles(sources: Sources, name: str, series: Sequence[tuple[str, str]]) -> list[str]:
    lines = []
    for what, stem in series:
        found = [value(sources, f"{name}:{stem}_p{percent}_ms") for percent in (50, 95, 99)]
        if found[0] is not None:
            lines.append(row(what, *("" if v is None else f"{v:.1f}" for v in found)))
    return lines


def _rows(sources: Sources, name: str, rows: Rows) -> list[str]:
    found = ((what, value(sources, f"{name}:{figure}")) for what, figure in rows)
    return [*head("", name), *(row(what, f"{v:.4g}") for what, v in found if v is not None)]


def capacity(sources: Sources) -> list[str]:
    """A line for every server that was filled."""
    source = sources["capacity"]
    lines = ["Sessions with at least 99 % of the slots on time, 95 % of the pictures received, and "
             "nothing drawn smaller or less often.", ""]  # fmt: skip
    lines += head("server", "cores", "sessions", "cores a session", "peers' cores a session",
                 "MiB a session", "MiB without")  # fmt: skip
    for name, case in source.document["config"]["cases"].items():
        known = [source.figures.get(f"{name}_{what}") for what in (
            "sessions", "cores_per_session", "peer_cores_per_session", "memory_mb_per_session",
            "memory_mb_base")]  # fmt: skip
        settings = " ".join(case["settings"]) or "defaults"
        lines.append(
            row(settings, case["cores"], *("" if v is None else f"{v:.3g}" for v in known))
        )
    return lines


def motion(sources: Sources) -> list[str]:
    """How well motion follows speech, beside the baselines; limits that are missed; cost."""
    lines = head("", *_PERFORMERS)
    for what, path in _MOTION:
        found = [value(sources, f"motion_eval:{path.format(who)}") for who in _PERFORMERS]
        lines.append(row(what, *("–" if v is None else f"{v:.3g}" for v in found)))
    checks = [c for c in sources["motion_eval"].document["checks"] if c["who"] == _DEFAULT]
    missed = [f"{c['what']} {c['value']:.3g} ({c['limit']})" for c in checks if not c["passed"]]
    said = f"{_DEFAULT} is the default. Of its {len(checks)} limits it misses {len(missed)}"
    lines += ["", f"{said}{': ' if missed else ''}{'; '.join(missed)}."]
    cost = value(sources, "motion:motion_cpu_ms_per_s")
    if cost is not None:
        flop = value(sources, "motion:motion_gflop_per_s")
        lines += ["", f"Per second of motion: {flop:.3g} GFLOP, {cost:.3g} ms of one core."]
    return lines


def plain(sources: Sources, name: str) -> list[str]:
    """All figures of a result that no section was written for."""
    figures = sources[name].figures
    return [*head("", name), *(row(f"`{figure}`", f"{v:.4g}") for figure, v in figures.items())]


SECTIONS: tuple[tuple[str, tuple[str, ...], Callable[[Sources], list[str]]], ...] = (
    ("One session", ("loopback", "stages", "speaking"), latency),
    ("Capacity", ("capacity",), capacity),
    ("Starting", ("startup",), partial(_rows, name="startup", rows=_STARTUP)),
    ("An hour with guests", ("soak",), partial(_rows, name="soak", rows=_SOAK)),
    ("Motion", ("motion_eval", "motion", "teacher"), motion),
    ("Pictures", ("render_quality",), partial(_rows, name="render_quality", rows=_PICTURES)),
    ("The invisible mark", ("watermark",), partial(_rows, name="watermark", rows=_MARK)),
)
"""Title, results (the first is needed), and what makes it."""
