"""An ingest that is killed, or finds the disk full, loses nothing and leaves nothing that looks whole."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.ingest import outputs, reading, request, staging
from allscan.engine.ingest.pipeline import ingest
from allscan.engine.store import open_store, verify_store
from allscan.errors import ClusterError, CorruptChunkError, InputError, OutputError

HERE = Path(__file__).parent
sys.path.append(str(HERE))

from fake_source import FakeSource, Record, records  # noqa: E402

VARIANTS = (*records("1", range(100, 220, 2)), *records("2", range(50, 90)))  # 100 of them, parts of 20


class Killed(BaseException):
    """Not an Exception: nothing handles it."""


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch):
    monkeypatch.setattr(request, "MIN_TASK_VARIANTS", 20)
    monkeypatch.setattr(request, "MAX_TASK_VARIANTS", 20)


def run(sources, out, **settings):
    settings = {"executor": EmbeddedExecutor(1), "block_variants": 16} | settings
    return ingest(sources if isinstance(sources, list) else [sources], out, **settings)


def content(store):
    """Every file of a store, but for the time at which it was made."""
    files = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    attributes = json.loads(files.pop("zarr.json"))
    assert attributes["attributes"].pop("created")
    return files | {"attributes": attributes}


def stop_after(number, phase="read"):
    """A progress callback that kills the ingest once so many tasks of a phase are done."""

    def on_progress(progress):
        if progress.phase == phase and progress.tasks_done >= number:
            raise Killed

    return on_progress


@pytest.fixture
def journal(tmp_path):
    folder = tmp_path / "journal"
    folder.mkdir()
    return folder


def reads(journal):
    """Partitions read so far, one entry for each time."""
    return sorted("-".join(path.name.split("-")[:2]) for path in journal.iterdir())


# Kills


def test_a_kill_before_any_commit_is_healed_by_the_next_run(tmp_path, monkeypatch):
    source = FakeSource("/nowhere/a.vcf", VARIANTS)
    run(source, tmp_path / "whole.zarr")
    whole = content(tmp_path / "whole.zarr")
    for at in itertools.count(step=5):
        out = tmp_path / f"{at}.zarr"
        commits = 0

        def dying(original, at=at):
            def commit(self, target):
                nonlocal commits
                commits += 1
                if commits > at:
                    raise Killed
                return original(self, target)

            return commit

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", dying(Path.replace))
            patch.setattr(Path, "rename", dying(Path.rename))
            try:
                run(source, out)
                died = False
            except Killed:
                died = True
                assert not out.exists()
        run(source, out)
        assert content(out) == whole
        assert not out.with_name(f"{at}.zarr.partial").exists()
        shutil.rmtree(out)
        if not died:
            break
    assert at > 50  # five parts of three files, seven blocks, and all the files of Zarr


def test_a_kill_after_the_last_rename_leaves_a_finished_store(tmp_path, monkeypatch):
    source = FakeSource("/nowhere/a.vcf", VARIANTS)
    original = shutil.rmtree

    def dying(path, *args, **kwargs):
        if (tmp_path / "out.zarr").exists():
            raise Killed
        original(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", dying)
        with pytest.raises(Killed):
            run(source, tmp_path / "out.zarr")
    assert (tmp_path / "out.zarr.partial").exists()
    report = run(source, tmp_path / "out.zarr", overwrite=True)
    assert report.already_complete
    assert not (tmp_path / "out.zarr.partial").exists()


SCRIPT = """
import sys
from pathlib import Path
sys.path.append({here!r})
from fake_source import FakeSource, records
from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.ingest import request
from allscan.engine.ingest.pipeline import ingest

if __name__ == "__main__":
    request.MIN_TASK_VARIANTS = request.MAX_TASK_VARIANTS = 20
    variants = (*records("1", range(100, 500, 2)), *records("2", range(50, 90)))
    source = FakeSource("/nowhere/a.vcf", variants, journal=Path({journal!r}), delay=0.03)
    ingest(
        [source], {out!r}, executor=EmbeddedExecutor(2, {kind!r}), block_variants=16,
        on_progress=lambda p: print(p.phase, p.tasks_done, p.tasks_resumed, flush=True),
    )
"""


@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        ("threads", [("read", 3), ("read", 7), ("write", 2), ("write", 9)]),
        ("processes", [("read", 3), ("write", 4)]),
    ],
)
def test_sigkill_at_any_moment(tmp_path, journal, kind, kills):
    script = tmp_path / "main.py"
    out = tmp_path / "out.zarr"
    script.write_text(SCRIPT.format(here=str(HERE), journal=str(journal), out=str(out), kind=kind))
    finished = {"read": 0, "write": 0}
    for phase, number in (*kills, (None, 0)):
        process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
        resumed_now = {}
        for line in process.stdout:
            name, done, resumed = line.split()
            if name in finished:
                if name not in resumed_now:
                    # What an earlier run reported as done is not done again.
                    resumed_now[name] = int(resumed)
                    assert resumed_now[name] >= finished[name]
                finished[name] = int(done)
            if name == phase and int(done) >= number:
                process.send_signal(signal.SIGKILL)
                break
        process.stdout.read()
        process.stdout.close()
        assert process.wait() == (0 if phase is None else -signal.SIGKILL)
        assert out.exists() == (phase is None)
    # Each kill while reading can lose the two tasks that ran and no others.
    assert 12 <= len(reads(journal)) <= 12 + 2 * sum(phase == "read" for phase, _ in kills)
    uninterrupted = FakeSource("/nowhere/a.vcf", (*records("1", range(100, 500, 2)), *records("2", range(50, 90))))
    run(uninterrupted, tmp_path / "whole.zarr")
    assert content(out) == content(tmp_path / "whole.zarr")
    assert not (tmp_path / "out.zarr.partial").exists()


# What changes between an interrupted run and the next


def test_finished_parts_are_not_read_again(tmp_path, journal):
    source = FakeSource("/nowhere/a.vcf", VARIANTS, journal=journal)
    with pytest.raises(Killed):
        run(source, tmp_path / "out.zarr", on_progress=stop_after(3))
    report = run(source, tmp_path / "out.zarr")
    assert reads(journal) == [f"a.vcf-{start}" for start in (0, 20, 40, 60, 80)]
    assert report.tasks_resumed == 3


def test_only_the_source_that_changed_is_read_again(tmp_path, journal):
    paths = [tmp_path / "a.vcf", tmp_path / "b.vcf"]
    for path in paths:
        path.write_text("x")
    sources = [
        FakeSource(str(paths[0]), VARIANTS[:60], journal=journal),
        FakeSource(str(paths[1]), VARIANTS[60:], journal=journal),
    ]
    with pytest.raises(Killed):
        run(sources, tmp_path / "out.zarr", on_progress=stop_after(2, "write"))
    paths[1].write_text("changed")
    sources[1] = sources[1].but(seed=2)
    messages = []
    run(sources, tmp_path / "out.zarr", on_progress=lambda p: messages.append(p.message))
    assert reads(journal) == [*[f"a.vcf-{s}" for s in (0, 20, 40)], *[f"b.vcf-{s}" for s in (0, 0, 20, 20)]]
    assert "b.vcf changed since the interrupted ingest: it is read again" in messages
    run(sources, tmp_path / "whole.zarr")
    checksums = [open_store(tmp_path / name).attrs["content_checksum"] for name in ("out.zarr", "whole.zarr")]
    assert checksums[0] == checksums[1]


def test_a_changed_parameter_is_named_and_everything_is_read_again(tmp_path, journal):
    source = FakeSource("/nowhere/a.vcf", VARIANTS, journal=journal)
    with pytest.raises(Killed):
        run(source, tmp_path / "out.zarr", on_progress=stop_after(2, "write"))
    report = run(source, tmp_path / "out.zarr", min_allele_count=1)
    assert "min_allele_count changed since the interrupted ingest: everything is read again" in report.notes
    assert report.tasks_resumed == 0
    assert len(reads(journal)) == 10
    run(source, tmp_path / "whole.zarr", min_allele_count=1)
    assert verify_store(tmp_path / "out.zarr") == ()
    checksums = [open_store(tmp_path / name).attrs["content_checksum"] for name in ("out.zarr", "whole.zarr")]
    assert checksums[0] == checksums[1]


def test_parts_survive_another_answer_to_duplicates(tmp_path, journal):
    rows = (Record("1", 5), Record("1", 5), *records("1", range(6, 60)))
    source = FakeSource("/nowhere/a.vcf", rows, journal=journal)
    with pytest.raises(InputError, match="more than once"):
        run(source, tmp_path / "out.zarr")
    report = run(source, tmp_path / "out.zarr", on_duplicate="first")
    assert report.n_variants == len(rows) - 1
    assert len(reads(journal)) == 3


def test_a_damaged_part_is_named_and_not_used(tmp_path):
    source = FakeSource("/nowhere/a.vcf", VARIANTS)
    with pytest.raises(Killed):
        run(source, tmp_path / "out.zarr", on_progress=stop_after(0, "write"))
    (part,) = (tmp_path / "out.zarr.partial").glob("parts/*/00000001.genotypes")
    damaged = bytearray(part.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    part.write_bytes(damaged)
    with pytest.raises(CorruptChunkError, match="checksum") as caught:
        run(source, tmp_path / "out.zarr")
    assert str(part) in caught.value.where
    part.unlink()
    run(source, tmp_path / "out.zarr")
    run(source, tmp_path / "whole.zarr")
    assert content(tmp_path / "out.zarr") == content(tmp_path / "whole.zarr")


def test_a_part_that_was_cut_off_is_read_again(tmp_path, journal):
    source = FakeSource("/nowhere/a.vcf", VARIANTS, journal=journal)
    with pytest.raises(Killed):
        run(source, tmp_path / "out.zarr", on_progress=stop_after(0, "write"))
    (part,) = (tmp_path / "out.zarr.partial").glob("parts/*/00000001.genotypes")
    os.truncate(part, 10)
    run(source, tmp_path / "out.zarr")
    assert reads(journal) == [f"a.vcf-{start}" for start in (0, 20, 20, 40, 60, 80)]
    run(source, tmp_path / "whole.zarr")
    assert content(tmp_path / "out.zarr") == content(tmp_path / "whole.zarr")


def test_what_a_dying_worker_leaves_is_not_in_the_store(tmp_path):
    source = FakeSource("/nowhere/a.vcf", VARIANTS)

    def litter(progress):
        if progress.phase == "write" and progress.tasks_done == progress.tasks_total:
            (tmp_path / "out.zarr.partial" / "store" / "call_dosage" / "c" / "0" / ".0.1234.partial").touch()

    run(source, tmp_path / "out.zarr", on_progress=litter)
    run(source, tmp_path / "whole.zarr")
    assert content(tmp_path / "out.zarr") == content(tmp_path / "whole.zarr")


# The lock


def test_two_ingests_do_not_write_one_store(tmp_path):
    source = FakeSource("/nowhere/a.vcf", VARIANTS)

    def second(progress):
        if progress.tasks_done == 2:
            with pytest.raises(OutputError, match=f"another ingest .process {os.getpid()} on"):
                run(source, tmp_path / "out.zarr")

    run(source, tmp_path / "out.zarr", on_progress=second)
    assert verify_store(tmp_path / "out.zarr") == ()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    partial = tmp_path / "out.zarr.partial"
    partial.mkdir()
    (partial / "lock").write_text("process 1 on elsewhere")
    run(FakeSource("/nowhere/a.vcf", VARIANTS), tmp_path / "out.zarr")
    assert not partial.exists()


def test_a_lock_whose_folder_was_removed_is_taken_anew(tmp_path, monkeypatch):
    partial = tmp_path / "out.zarr.partial"
    original, calls = fcntl.flock, []

    def flock(file, operation):
        calls.append(operation)
        if len(calls) == 1:
            shutil.rmtree(partial)  # the holder before us ends here
        original(file, operation)

    monkeypatch.setattr(staging.fcntl, "flock", flock)
    with staging.exclusive(partial, tmp_path / "out.zarr"):
        assert (partial / "lock").read_text().startswith(f"process {os.getpid()}")
    assert len(calls) == 2


# Disks


class Elsewhere(EmbeddedExecutor):
    """Workers on a machine that has its own disk under the driver's path."""

    def run(self, function, shared, tasks, *, memory_bytes=0):
        for folder in getattr(shared, "folders", ()):
            assert folder.is_dir()
            folder.rmdir()
        return super().run(function, shared, tasks, memory_bytes=memory_bytes)


def test_a_worker_that_does_not_see_the_staging_folder_is_told_and_reads_nothing(tmp_path):
    source = FakeSource("/nowhere/a.vcf", VARIANTS)
    with pytest.raises(ClusterError, match="does not see the folder") as caught:
        run(source, tmp_path / "out.zarr", executor=Elsewhere(1))
    assert "out.zarr.partial" in caught.value.where
    assert "--staging" in caught.value.fix
    run(source, tmp_path / "out.zarr")
    assert verify_store(tmp_path / "out.zarr") == ()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_and_finished_work_is_kept(tmp_path, monkeypatch, journal, code):
    source = FakeSource("/nowhere/a.vcf", VARIANTS, journal=journal)
    written = 0

    def fsync(_):
        nonlocal written
        written += 1
        if written > 8:
            raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OutputError, match=r"disk is full.*are free") as caught:
            run(source, tmp_path / "out.zarr")
    assert "goes on where it stopped" in caught.value.fix
    assert not (tmp_path / "out.zarr").exists()
    report = run(source, tmp_path / "out.zarr")
    assert report.tasks_resumed > 0
    assert verify_store(tmp_path / "out.zarr") == ()


def test_a_file_that_the_system_refuses_to_grow(tmp_path):
    # A real refusal, in a process of its own: files may not exceed 3 kB.
    code = SCRIPT.format(here=str(HERE), journal=str(tmp_path), out=str(tmp_path / "out.zarr"), kind="threads")
    limited = subprocess.run(
        [sys.executable, "-c", code.replace("delay=0.03", "n_samples=2000")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "NUMBA_DISABLE_JIT": "0"},
    )
    assert "OutputError: the system refuses a file of this size (File too large)" in limited.stderr
    assert not (tmp_path / "out.zarr").exists()


def test_too_little_space_is_refused_before_work_starts(tmp_path, monkeypatch, journal):
    path = tmp_path / "a.vcf"
    path.write_bytes(b"x" * 1_000_000)
    monkeypatch.setattr(outputs, "free_space", lambda _: 100_000)
    source = FakeSource(str(path), VARIANTS, journal=journal)
    with pytest.raises(OutputError, match=r"at least 0\.2 MiB are needed.*0\.1 MiB are free"):
        run(source, tmp_path / "out.zarr")
    assert reads(journal) == []
    assert not (tmp_path / "out.zarr.partial").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    original = Path.mkdir

    def mkdir(self, *args, **kwargs):
        if self.name.endswith(".partial"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(OutputError, match="Read-only file system") as caught:
        run(FakeSource("/nowhere/a.vcf", VARIANTS), tmp_path / "out.zarr")
    assert "where you may create files" in caught.value.fix


def test_an_output_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        run(FakeSource("/nowhere/a.vcf", VARIANTS), tmp_path / "file" / "out.zarr")


def test_a_refused_source_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="elsewhere"):
        run(FakeSource("/nowhere/a.vcf", (Record("elsewhere", 1),)), tmp_path / "out.zarr")
    assert list(tmp_path.iterdir()) == []


# Memory


MEMORY_SCRIPT = """
import resource, sys
sys.path.append({here!r})
from pathlib import Path
from wide_source import WideSource
from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.ingest.pipeline import ingest

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

ingest([WideSource("/nowhere/small.vcf", 200, {n_samples})], {folder!r} + "/small.zarr",
       executor=EmbeddedExecutor(1))
before = peak()
ingest([WideSource("/nowhere/large.vcf", {n_variants}, {n_samples})], {folder!r} + "/large.zarr",
       executor=EmbeddedExecutor(1))
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_number_of_variants(tmp_path):
    # 20 times as many genotypes as the small ingest: 320 MB as int8.
    code = MEMORY_SCRIPT.format(here=str(HERE), folder=str(tmp_path), n_variants=4000, n_samples=80_000)
    measured = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(measured.stdout) < (reading.BATCH_BYTES + 2 * reading.SEGMENT_BYTES) / 2**20 < 100
    assert open_store(tmp_path / "large.zarr").n_variants == 4000
