"""docs/benchmarks.md as ``benchmarks report`` makes it, on a copy: others commit new results."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks.gather.page import Unexplained, main, page
from benchmarks.gather.sources import RESULTS, Source, load, value
from benchmarks.gather.stack import PICTURE, draw, stack
from benchmarks.gather.targets import TARGETS, Reason, Target, outcomes, reasons

EXPLAINED = "".join(f'[{target.key}]\nwhy = "because of {target.key}"\n' for target in TARGETS)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder like docs, with the results of the day and a reason for everything."""
    results = tmp_path / "results"
    results.mkdir()
    for path in RESULTS.glob("*.json"):
        shutil.copy(path, results)
    (results / "reasons.toml").write_text(EXPLAINED)
    return tmp_path


def change(docs: Path, name: str, **figures: float) -> None:
    """Another result than before."""
    path = docs / "results" / f"{name}.json"
    document = json.loads(path.read_text()) if path.is_file() else {"benchmark": name}
    document["figures"] = document.get("figures", {}) | figures
    path.write_text(json.dumps(document))


def test_a_page_is_fresh_until_a_result_changes(
    docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--check"], docs) == 1, "there is none yet"
    assert main([], docs) == 0
    assert main(["--check"], docs) == 0
    assert (docs / "results" / PICTURE).is_file()
    capsys.readouterr()
    change(docs, "loopback", barge_in_audio_p95_ms=71.5)
    assert main(["--check"], docs) == 1
    assert "python -m benchmarks report" in capsys.readouterr().err
    assert main([], docs) == 0
    text = (docs / "benchmarks.md").read_text()
    assert "71.5 ms | **missed**" in text
    assert "because of barge_in_audio" in text
    assert main(["--check"], docs) == 0


def test_every_target_is_there_and_every_source(docs: Path) -> None:
    text, _ = page(docs)
    for target in TARGETS:
        assert text.count(f"| {target.what} |") == 1
    for name in load(docs / "results"):
        assert f"[{name}](results/{name}" in text


def test_a_missed_target_must_be_explained(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(docs, "loopback", skew_p95_ms=50.0)
    silent = EXPLAINED.replace('[skew]\nwhy = "because of skew"\n', "")
    (docs / "results" / "reasons.toml").write_text(silent)
    with pytest.raises(Unexplained, match="skew"):
        page(docs)
    assert main([], docs) == 1
    assert "skew" in capsys.readouterr().err
    assert not (docs / "benchmarks.md").exists()


def test_a_kept_target_needs_no_reason_and_shows_none(docs: Path) -> None:
    change(docs, "loopback", skew_p95_ms=5.0)
    assert "because of skew\n" not in page(docs)[0] + "\n"
    assert "* **picture against sound, p95**" not in page(docs)[0]


def test_reasons_for_what_is_no_target_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "reasons.toml"
    path.write_text('[speed_of_light]\nwhy = "it is finite"\n')
    with pytest.raises(ValueError, match="speed_of_light"):
        reasons(path)


def test_the_committed_reasons_can_be_read() -> None:
    assert all(reason.why for reason in reasons().values())
    for reason in reasons().values():
        assert not reason.profile or (RESULTS.parent / reason.profile).exists()


def test_limits_go_the_way_they_are_meant() -> None:
    least = Target("a", "", "", 99.5, "%", "x:share", least=True, scale=lambda v: 100 * v)
    most = Target("b", "", "", 40, "ms", "x:ms")
    sources = {"x": Source("x", {"benchmark": "x", "figures": {"share": 0.996, "ms": 41.0}})}
    kept, missed = outcomes(sources, {"b": Reason("it is slow")}, (least, most))
    assert kept.met
    assert kept.measured == pytest.approx(99.6)
    assert (missed.met, missed.needs_reason) == (False, False)
    assert (least.wanted, most.wanted) == ("≥ 99.5 %", "≤ 40 ms")
    (nowhere,) = outcomes({}, {}, (most,))
    assert nowhere.measured is None
    assert nowhere.needs_reason


def test_numbers_are_found_by_name_and_by_path() -> None:
    flat = Source("a", {"benchmark": "a", "figures": {"x.y": 1.0}})
    deep = Source("b", {"part": {"x": {"median": 2}}, "text": "3"})
    sources = {"a": flat, "b": deep}
    assert value(sources, "a:x.y") == 1.0
    assert value(sources, "b:part.x.median") == 2.0
    for nothing in ("b:part.x", "b:text", "b:none.x", "c:x"):
        assert value(sources, nothing) is None


def test_the_stack_is_as_long_as_what_was_measured(docs: Path, tmp_path: Path) -> None:
    sources = load(docs / "results")
    whole = stack(sources)
    assert whole is not None
    to_encoder = sum(
        p.ms for p in whole.parts[: [p.name for p in whole.parts].index("waiting") + 1]
    )
    measured = value(sources, "loopback:audio_to_encoder_p50_ms")
    assert measured is not None
    assert to_encoder == pytest.approx(20 + measured), "from the capture: a packet before it leaves"
    assert all(0 <= part.floor <= part.ms for part in whole.parts)
    draw(whole, tmp_path / "stack.png")
    assert (tmp_path / "stack.png").stat().st_size > 10_000


def test_without_its_results_there_is_no_stack_and_the_page_says_so(docs: Path) -> None:
    (docs / "results" / "stages.json").unlink()
    text, whole = page(docs)
    assert whole is None
    assert "Not drawn" in text


def test_results_that_nobody_wrote_a_section_for_are_shown_as_they_are(docs: Path) -> None:
    change(docs, "peers", ditto_gflop=1800.0)
    text, _ = page(docs)
    assert "## Peers" in text
    assert "| `ditto_gflop` | 1800 |" in text


def test_sections_of_results_that_come_later_fit_what_their_benchmarks_write(docs: Path) -> None:
    config = {"cases": {"cores1": {"cores": 1, "settings": []}}}
    document = {"benchmark": "capacity", "config": config,
                "figures": {"cores1_sessions": 1.0, "cores1_cores_per_session": 0.55}}  # fmt: skip
    (docs / "results" / "capacity.json").write_text(json.dumps(document))
    change(docs, "startup", cold_ready_worst_s=5.5, install_all_mb=640.0)
    text, _ = page(docs)
    assert "| defaults | 1 | 1 | 0.55 |" in text
    assert "| size of the install, MB | 640 |" in text
    assert "5.5 s | kept | `startup:cold_ready_worst_s` |" in text


def test_what_results_call_broken_is_repeated(docs: Path) -> None:
    path = docs / "results" / "soak.json"
    document = json.loads(path.read_text()) | {"failures": ["the roof leaks"]}
    path.write_text(json.dumps(document))
    assert "* `soak`: the roof leaks\n" in page(docs)[0]
    many = [f"leak {number}" for number in range(11)]
    path.write_text(json.dumps(document | {"failures": many}))
    text, _ = page(docs)
    assert "leak 7; and 3 more in [soak.json]" in text
    assert "leak 8" not in text


def test_plots_are_shown_with_the_result_whose_name_they_have(docs: Path) -> None:
    for name in ("motion", "motion_eval_real", "soak"):
        (docs / "results" / f"{name}.png").touch()
    (docs / "results" / "soak.md").touch()
    text, _ = page(docs)
    assert text.count("![motion](results/motion.png)") == 1
    assert text.count("[motion_eval_real.png](results/motion_eval_real.png)") == 1
    assert "More: [soak.md](results/soak.md)\n\n![soak](results/soak.png)" in text
