"""What a benchmark reports of the processor it ran on."""

from __future__ import annotations

from bench.processor import machine, parallel_speedup, threads_per_core, usable_cpus


def _report(root, lists):
    for cpu, text in lists.items():
        folder = root / "cpu" / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{text}\n")
    return root


def test_threads_per_core_counts_the_usable_threads_of_the_fullest_core(tmp_path):
    root = _report(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3", 4: "4-7", 5: "4-7"})

    assert threads_per_core([0, 1], root) == 1
    assert threads_per_core([0, 1, 2], root) == 2
    assert threads_per_core([0, 4, 5], root) == 2
    assert threads_per_core([0, 9], root) is None


def test_one_cpu_together_does_the_work_of_one():
    assert 0.5 < parallel_speedup(usable_cpus()[:1]) < 2


def test_the_head_of_a_report_names_cpus_and_whether_they_share_cores():
    text = machine()

    assert f"{len(usable_cpus())} CPUs" in text
    assert "reported threads per core: " in text
    assert any(words in text for words in ("share no core", "share cores", "one CPU"))
