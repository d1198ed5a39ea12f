"""Folders of works: every kind of picture file, captions from everywhere, what cannot be used is listed."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("filelock")
pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]

import torch  # noqa: E402
from PIL import Image, ImageCms  # noqa: E402
from tiny_bases import write_captioner  # noqa: E402

from auditor.errors import TrainingError, UsageError  # noqa: E402
from auditor.training import captions  # noqa: E402
from auditor.training.cache import Cache  # noqa: E402
from auditor.training.captions import from_name, with_captions  # noqa: E402
from auditor.training.metadata import safe_name  # noqa: E402
from auditor.training.pictures import (  # noqa: E402
    Unreadable,
    colour_words,
    cut,
    difference_hash,
    even_boxes,
    read_pictures,
    read_square,
)
from auditor.training.plan import mirrored  # noqa: E402
from auditor.training.works import Work, read_works  # noqa: E402

RAMP = np.linspace(0, 255, 64)[None, :].repeat(48, 0)


def save(path: Path, picture: Image.Image, **more: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **more)
    return path


def coloured(seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 255, (8, 10, 3)).astype(np.uint8)).resize(
        (100, 80), Image.Resampling.BICUBIC
    )


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    upright = Image.fromarray(RAMP.astype(np.uint8)).convert("RGB")
    plain = save(tmp_path / "plain.png", upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise to show
    turned = save(tmp_path / "turned.png", upright.rotate(90, expand=True), exif=exif)
    np.testing.assert_array_equal(read_square(turned, 32), read_square(plain, 32))


def test_alpha_is_laid_on_white_in_every_mode(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    palette = Image.new("P", (40, 40), 0)
    palette.putpalette([200, 0, 0] + [0] * 765)
    grey = Image.new("LA", (40, 40), (30, 0))
    for name, picture, more in (("a", clear, {}), ("b", palette, {"transparency": 0}), ("c", grey, {})):
        assert (read_square(save(tmp_path / f"{name}.png", picture, **more), 16) == 255).all(), name


def test_grey_pictures_of_8_and_16_bits_look_the_same(tmp_path: Path) -> None:
    eight = save(tmp_path / "8.png", Image.fromarray(RAMP.astype(np.uint8)))
    sixteen = save(tmp_path / "16.png", Image.fromarray((RAMP * 257).astype(np.uint16)))
    a, b = (read_square(path, 48).astype(int) for path in (eight, sixteen))
    assert a.max() > 200
    assert np.abs(a - b).max() <= 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("floats.tif", (RAMP / 255).astype(np.float32)),
        ("floats-over.tif", (RAMP / 252).astype(np.float32)),
        ("floats-255.tif", RAMP.astype(np.float32)),
        ("floats-65535.tif", (RAMP * 257).astype(np.float32)),
        ("floats-signed.tif", (RAMP / 127.5 - 1).astype(np.float32)),
        ("int32-255.tif", RAMP.astype(np.int32)),
        ("int32-65535.tif", (RAMP * 257).astype(np.int32)),
        ("int32-wide.tif", (RAMP * 100_000).astype(np.int32)),
        ("uint16-255.tif", RAMP.astype(np.uint16)),
        ("uint16-12-bits.tif", (RAMP * 16).astype(np.uint16)),
        ("uint16-12-bits.png", (RAMP * 16).astype(np.uint16)),
    ],
)
def test_deep_grey_is_scaled_by_the_range_it_needs(tmp_path: Path, name: str, values: np.ndarray) -> None:
    plain = read_square(save(tmp_path / "plain.png", Image.fromarray(RAMP.astype(np.uint8))), 48)
    assert np.abs(read_square(save(tmp_path / name, Image.fromarray(values)), 48) - plain.astype(int)).max() <= 1


@pytest.mark.parametrize(("value", "seen"), [(0, 0), (200, 200), (-5, 0)])
def test_deep_grey_of_one_value(tmp_path: Path, value: int, seen: int) -> None:
    flat = save(tmp_path / "a.tif", Image.fromarray(np.full((40, 40), value, np.int32)))
    assert (read_square(flat, 16) == seen).all()


def test_the_transparent_value_of_deep_grey_is_white_and_the_rest_stays(tmp_path: Path) -> None:
    values = np.full((40, 40), 20_000, np.uint16)
    values[:, 20:] = 1000
    pixels = read_square(save(tmp_path / "a.png", Image.fromarray(values), transparency=1000), 40)
    assert (pixels[:, :20] == 78).all()
    assert (pixels[:, 20:] == 255).all()


def test_floats_that_are_no_numbers_are_skipped(tmp_path: Path) -> None:
    values = (RAMP / 255).astype(np.float32)
    values[0, 0] = np.nan
    save(tmp_path / "x" / "a.tif", Image.fromarray(values))
    save(tmp_path / "x" / "b.png", coloured())
    assert read_works(tmp_path, 32).unread == [("x/a.tif", "some of its values are no numbers")]


def test_cmyk_without_a_profile_and_with_a_broken_one(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (40, 40), (255, 0, 0, 0))
    red, green, blue = read_square(save(tmp_path / "p" / "a.jpg", cyan, quality=95), 16)[8, 8]
    assert red < 60 < 150 < min(green, blue)
    save(tmp_path / "p" / "b.jpg", cyan, icc_profile=b"no profile at all")
    works = read_works(tmp_path, 16)
    assert works.file == ["p/a.jpg"]
    assert [file for file, _ in works.unread] == ["p/b.jpg"]
    assert "profile" in works.unread[0][1]


def test_rgb_profiles_do_no_harm(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    a, b = coloured(), save(tmp_path / "b.png", coloured(), icc_profile=profile)
    np.testing.assert_array_equal(read_square(b, 32), read_square(save(tmp_path / "a.png", a), 32))


def test_what_cannot_be_used_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = save(tmp_path / "x" / "good.jpg", coloured())
    (tmp_path / "x" / "text.jpg").write_bytes(b"not a picture")
    (tmp_path / "x" / "empty.png").write_bytes(b"")
    (tmp_path / "x" / "cut.jpg").write_bytes(good.read_bytes()[:-400])
    save(tmp_path / "x" / "tiny.png", Image.new("RGB", (10, 300)))
    works = read_works(tmp_path, 32)
    assert works.file == ["x/good.jpg"]
    reasons = dict(works.unread)
    assert set(reasons) == {"x/text.jpg", "x/empty.png", "x/cut.jpg", "x/tiny.png"}
    assert "too small" in reasons["x/tiny.png"]
    assert all(reasons.values())


@pytest.mark.parametrize(
    "error", [RuntimeError("Failed to decode"), struct.error("odd"), TypeError("fill"), MemoryError()]
)
def test_whatever_a_decoder_raises_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Seen: RuntimeError of cut AVIFs, struct.error and TypeError of odd EXIF."""
    for name in "ab":
        save(tmp_path / "x" / f"{name}.png", coloured(ord(name)))
    real = Image.open

    def breaking(path: Path) -> Image.Image:
        if Path(path).name == "b.png":
            raise error
        return real(path)

    monkeypatch.setattr(Image, "open", breaking)
    works = read_works(tmp_path, 32, tmp_path / "pictures.jsonl")
    assert works.file == ["x/a.png"]
    ((file, reason),) = works.unread
    assert file == "x/b.png"
    assert "damaged" in reason or "memory" in reason
    assert read_pictures(tmp_path, ["x"]).unread == works.unread
    with pytest.raises(Unreadable, match=re.escape(reason)):
        read_square(tmp_path / "x" / "b.png")
    with pytest.raises(TrainingError, match=r"x/b\.png cannot be read any more"):
        Cache(None, works, tmp_path, 32).read(Work("x/b.png", "x/b.png", "x", ""), 32)  # type: ignore[arg-type]
    monkeypatch.undo()  # what was in the way is gone: the file itself has not changed
    assert read_works(tmp_path, 32, tmp_path / "pictures.jsonl").file == ["x/a.png", "x/b.png"]


def test_a_jpeg_with_odd_exif_is_skipped(tmp_path: Path) -> None:
    """A turn to undo and a resolution that is text: Pillow reads it and cannot write it again."""
    turn, resolution = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0), struct.pack("<HHI4s", 0x011A, 2, 1, b"ab")
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + turn + resolution + bytes(4)
    save(tmp_path / "x" / "a.jpg", coloured(), exif=exif)
    save(tmp_path / "x" / "b.jpg", coloured())
    works = read_works(tmp_path, 32)
    assert works.file == ["x/b.jpg"]
    assert works.unread[0][1].startswith("it is damaged (TypeError")


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="file names there are always text")
def test_names_that_are_not_utf8_are_skipped_and_can_be_printed(tmp_path: Path) -> None:
    save(tmp_path / "x" / "a.png", coloured())
    for bad in (b"caf\xe9/a.png", b"x/\xe9.png"):
        save(Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), bad))), coloured(1))
    works = read_works(tmp_path, 32)
    assert works.file == ["x/a.png"]
    assert [file.encode() for file, _ in works.unread] == [rb"caf\udce9/a.png", rb"x/\udce9.png"]
    assert all("UTF-8" in reason for _, reason in works.unread)


def test_links_to_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    art, elsewhere = tmp_path / "art", tmp_path / "elsewhere"
    save(elsewhere / "deep" / "a.png", coloured(1))
    save(art / "x" / "z" / "b.png", coloured(2))
    (art / "linked").symlink_to(elsewhere)
    (elsewhere / "deep" / "circle").symlink_to(elsewhere)
    (art / "x" / "again").symlink_to(art / "x" / "z")
    (art / "x" / "all").symlink_to(art)
    (art / "x" / "gone.png").symlink_to(art / "nothing.png")
    (art / "lost").symlink_to(tmp_path / "nowhere")
    works = read_works(art, 32)
    assert works.file == ["linked/deep--a.png", "x/z--b.png"]
    assert works.remarks == ["2 links lead nowhere: lost, x/gone.png"]


def test_files_of_other_types_and_empty_folders_are_remarked_in_a_line_each(tmp_path: Path) -> None:
    save(tmp_path / "x" / "a.png", coloured())
    for name in ("a.cr2", "b.PSD", "c.svg", "d.raw", "e.txt", "f.json", "g.csv", ".hidden.cr2", "metadata.jsonl"):
        (tmp_path / "x" / name).write_bytes(b"")
    (tmp_path / "y" / "deep").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    assert read_works(tmp_path, 32).remarks == [
        "4 files are of no known picture type: x/a.cr2, x/b.PSD, x/c.svg",
        "1 artist's folder holds no picture: y",
    ]


def test_small_pictures_and_pictures_of_two_artists_are_remarked(tmp_path: Path) -> None:
    save(tmp_path / "x" / "1.png", coloured(1))
    save(tmp_path / "y" / "2.png", coloured(1))
    works = read_works(tmp_path, 96)
    assert "2 pictures are smaller than 96 px and are enlarged: x 1, y 1" in works.remarks
    assert not any("smaller than" in remark for remark in read_works(tmp_path, 80).remarks)
    assert any("x/1.png and y/2.png" in remark for remark in works.remarks)


def test_pictures_of_nobody_and_rows_without_a_picture_are_remarked(tmp_path: Path) -> None:
    save(tmp_path / "x" / "1.png", coloured(1))
    save(tmp_path / "stray.png", coloured(2))
    (tmp_path / "x" / "metadata.jsonl").write_text('{"file_name": "1.png"}\n{"file_name": "gone.png"}\n')
    works = read_works(tmp_path, 32)
    assert works.file == ["x/1.png"]
    assert works.remarks == [
        "1 picture lies in no artist's folder, and no metadata names their artist: stray.png",
        "1 picture is named by the metadata but is not there: x/gone.png",
    ]


def test_a_format_that_cannot_be_opened_is_listed_and_animations_show_their_first_frame(tmp_path: Path) -> None:
    save(tmp_path / "x" / "moving.gif", Image.new("RGB", (64, 64), "red"), save_all=True,
         append_images=[Image.new("RGB", (64, 64), "blue")])  # fmt: skip
    (tmp_path / "x" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0" + bytes(64))
    works = read_works(tmp_path, 32)
    assert works.file == ["x/moving.gif"]
    assert read_square(tmp_path / "x" / "moving.gif", 8)[0, 0].tolist() == [255, 0, 0]
    assert [file for file, _ in works.unread] == ["x/phone.heic"]


def test_folders_without_any_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        read_works(tmp_path / "nothing", 32)
    with pytest.raises(UsageError, match="no picture"):
        read_works(tmp_path, 32)


def test_captions_come_from_text_files_then_metadata_then_the_catalogue(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        save(tmp_path / "x" / f"{name}.png", coloured(ord(name)))
    (tmp_path / "x" / "a.txt").write_text("from a\ntext file\n")
    rows = [{"file_name": "a.png", "text": "metadata"}, {"file_name": "b.png", "text": "metadata"}]
    (tmp_path / "x" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (tmp_path / "CATALOGUE.csv").write_text("file,title\nx/b.png,catalogue\nx/c.png,catalogue\n")
    works = read_works(tmp_path, 32)
    assert [w.caption for w in works.works] == ["from a text file", "metadata", "catalogue", ""]


def test_an_imagefolder_can_name_its_artists(tmp_path: Path) -> None:
    for name in ("1.png", "2.png", "3.png"):
        save(tmp_path / name, coloured(int(name[0])))
    rows = "file_name,text,artist\n1.png,one,Jan van Eyck\n2.png,two,../../Evil\n"
    (tmp_path / "metadata.csv").write_text(rows)
    works = read_works(tmp_path, 32)
    assert [(w.file, w.caption) for w in works.works] == [("Evil/2.png", "two"), ("Jan-van-Eyck/1.png", "one")]
    (tmp_path / "metadata.csv").write_text("name\nx\n")
    with pytest.raises(UsageError, match=r"metadata\.csv"):
        read_works(tmp_path, 32)


@pytest.mark.parametrize(
    ("name", "table", "said"),
    [
        ("metadata.jsonl", '{"file_name": "1.png"}\n\n{"file_name": 5}', "line 3: the file_name is 5"),
        ("metadata.jsonl", '{"file_name": null}', "line 1: there is no file_name"),
        ("metadata.jsonl", '{"file_name": "1.png", "artist": ["a"]}', r'line 1: the artist is \["a"\]'),
        ("metadata.jsonl", '{"file_name": "1.png", "text": {"en": "a"}}', "line 1: the text is"),
        ("metadata.jsonl", '{"file_name": "1.png", "artist": "???"}', "line 1: the artist .* no letter"),
        ("metadata.jsonl", '{"file_name": "1.png", "artist": ".."}', "line 1: the artist .* no letter"),
        ("metadata.jsonl", '{"file_name": "1.png"}\n{"file_name": 1.png}', r"line 2: no JSON: .* \(character 16\)"),
        ("metadata.jsonl", "{}\n" + "[" * 100_000, "line 2: no JSON|line 1: there is no file_name"),
        ("metadata.jsonl", '{"file_name": "1.png"}\n[]', "line 2: no JSON object"),
        ("metadata.csv", "name\n1.png\n", "line 1: no column 'file_name'; the columns are: name"),
        ("metadata.csv", "file_name,text\n1.png,a mill, by night\n", "line 2: more fields than columns"),
        ("metadata.csv", "file_name,text\n,a mill\n", "line 2: there is no file_name"),
        ("metadata.csv", "file_name,text\n1.png,caf\udce9\n", "line 2: no UTF-8 text"),
    ],
)
def test_broken_metadata_is_said_with_its_line(tmp_path: Path, name: str, table: str, said: str) -> None:
    save(tmp_path / "x" / "1.png", coloured())
    (tmp_path / "x" / name).write_bytes(table.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=f"{re.escape(name)}, {said}"):
        read_works(tmp_path, 32)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_spreadsheets_are_read(tmp_path: Path, separator: str) -> None:
    save(tmp_path / "1.png", coloured())
    rows = [["file_name", "text", "artist"], ["1.png", '"a mill\r\nby night"', "5"], ["", "", ""]]
    table = "\ufeff" + "\r\n".join(separator.join(row) for row in rows) + "\r\n"
    (tmp_path / "metadata.csv").write_bytes(table.encode())
    assert [(w.file, w.caption) for w in read_works(tmp_path, 32).works] == [("5/1.png", "a mill by night")]


def test_a_line_of_json_may_hold_odd_characters_and_numbers(tmp_path: Path) -> None:
    save(tmp_path / "x" / "1.png", coloured())
    row = '\ufeff{"file_name": "1.png", "text": "a\u2028b \\ud800", "artist": 5}\r\n'
    (tmp_path / "x" / "metadata.jsonl").write_bytes(row.encode())
    assert [(w.file, w.caption) for w in read_works(tmp_path, 32).works] == [("5/x--1.png", "a b ?")]


def test_metadata_may_name_files_by_their_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "art" / "1.png", coloured(1))
    save(tmp_path / "art" / "x" / "2.png", coloured(2))
    names = [tmp_path / "art" / "1.png", "x/../x/2.png", tmp_path / "other.png", "../other.png"]
    rows = [json.dumps({"file_name": str(name), "artist": "A"}) for name in names]
    (tmp_path / "art" / "metadata.jsonl").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    works = read_works(Path("art"), 32)
    assert works.file == ["A/1.png", "A/x--2.png"]
    assert works.remarks == ["1 picture is named by the metadata but lies elsewhere: ../other.png"]
    (tmp_path / "link").symlink_to(tmp_path / "art")
    assert read_works(Path("link"), 32).file == works.file


def test_artists_who_would_share_a_folder_are_remarked(tmp_path: Path) -> None:
    for name in "12":
        save(tmp_path / f"{name}.png", coloured(int(name)))
    (tmp_path / "metadata.csv").write_text("file_name,artist\n1.png,A/B\n2.png,A B\n")
    assert read_works(tmp_path, 32).remarks == ["1 artist's name stands for several: A-B (A B, A/B)"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (b"picture,title\nx/1.png,a\n", "line 1: no column 'file'"),
        (b"file\nx/1.png\n", "line 1: no column 'title'"),
        ("file,title\nx/1.png,café\n".encode("latin-1"), "line 2: no UTF-8"),
        (b"", "line 1: no column 'file'"),
    ],
)
@pytest.mark.parametrize("parent", [False, True])
def test_a_catalogue_that_cannot_be_used_is_remarked(tmp_path: Path, table: bytes, said: str, parent: bool) -> None:
    save(tmp_path / "art" / "x" / "1.png", coloured())
    place = tmp_path if parent else tmp_path / "art"
    (place / "CATALOGUE.csv").write_bytes(table)
    (remark,) = read_works(tmp_path / "art", 32).remarks
    assert f"CATALOGUE.csv, {said}" in remark


def test_a_catalogue_may_have_short_rows_semicolons_and_a_mark_in_front(tmp_path: Path) -> None:
    save(tmp_path / "x" / "1.png", coloured(1))
    save(tmp_path / "x" / "2.png", coloured(2))
    (tmp_path / "CATALOGUE.csv").write_bytes("\ufefffile;title\r\nx/1.png\r\nx/2.png;mill\r\n".encode())
    assert [w.caption for w in read_works(tmp_path, 32).works] == ["", "mill"]


def test_artists_names_are_safe_folder_names() -> None:
    assert [safe_name(n) for n in ("../x", "a/b", " Élisabeth Vigée ", "...")] == [
        "x",
        "a-b",
        "Élisabeth-Vigée",
        "",
    ]


def test_a_second_look_reads_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        save(tmp_path / "art" / "x" / f"{name}.png", coloured(ord(name)))
    first = read_works(tmp_path / "art", 32, tmp_path / "pictures.jsonl")
    save(tmp_path / "art" / "x" / "b.png", coloured(99))
    opened: list[str] = []
    real = Image.open

    def counting(path: Path, *rest: object) -> Image.Image:
        opened.append(Path(path).name)
        return real(path, *rest)

    monkeypatch.setattr(Image, "open", counting)
    second = read_works(tmp_path / "art", 32, tmp_path / "pictures.jsonl")
    assert opened == ["b.png"]
    assert [a == b for a, b in zip(first.works, second.works, strict=True)] == [True, False, True]


def test_what_older_versions_saw_is_looked_at_again(tmp_path: Path) -> None:
    """They saw deep grey in black; halves by such hashes would lay all of an artist's works on one side."""
    path = save(tmp_path / "art" / "x" / "a.png", coloured())
    state = path.stat()
    old = {"path": "x/a.png", "bytes": state.st_size, "changed": state.st_mtime_ns}
    (tmp_path / "pictures.jsonl").write_text(json.dumps(old | {"digest": "", "hash": "0" * 16, "shorter": 80}) + "\n")
    assert read_works(tmp_path / "art", 32, tmp_path / "pictures.jsonl").hashes.any()


def test_hashes_are_those_of_pictures_read_at_once(tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / "x" / f"{name}.png", coloured(ord(name)))
    np.testing.assert_array_equal(read_works(tmp_path, 32).hashes, read_pictures(tmp_path).hashes)


@pytest.mark.parametrize(
    ("file", "caption"),
    [
        ("x/012_the-red-mill (2).jpg", "the red mill"),
        ("x/IMG_0001.jpg", ""),
        ("x/0001.png", ""),
        ("x/Venus%20at+rest_1890.jpeg", "venus at rest"),
        ("x/Maiden.with.a.pearl.webp", "maiden with a pearl"),
    ],
)
def test_captions_from_file_names(file: str, caption: str) -> None:
    assert from_name(file) == caption


def test_given_captions_stay_whatever_is_asked(tmp_path: Path) -> None:
    save(tmp_path / "x" / "a-mill.png", coloured(1))
    save(tmp_path / "x" / "a-ship.png", coloured(2))
    (tmp_path / "x" / "a-mill.txt").write_text("given")
    works = read_works(tmp_path, 32)
    named = with_captions(works, "names", tmp_path, "cpu", print)
    assert [w.caption for w in named.works] == ["given", "a ship"]
    assert with_captions(works, "given", tmp_path, "cpu", print) == works


def test_a_captioner_is_asked_once_per_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        save(tmp_path / "art" / "x" / f"{name}.png", coloured(ord(name)))
    asked: list[str] = []

    class Fake:
        def __init__(self, model: str, device: str) -> None:
            assert model == "some/model"

        def __call__(self, path: Path) -> str:
            asked.append(path.name)
            return f"picture {path.stem}"

    monkeypatch.setattr(captions, "Captioner", Fake)
    works = read_works(tmp_path / "art", 32)
    said: list[str] = []
    tell: Callable[[str], None] = said.append
    for _ in range(2):
        done = with_captions(works, "some/model", tmp_path / "cache", "cpu", tell)
        assert [w.caption for w in done.works] == ["picture a", "picture b"]
    assert asked == ["a.png", "b.png"]
    assert said == ["captions: 2 of 2"]


def test_a_picture_that_breaks_before_it_is_captioned_has_no_caption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        save(tmp_path / "art" / "x" / f"{name}.png", coloured(ord(name)))
    works = read_works(tmp_path / "art", 32)
    write_captioner(tmp_path / "blip")
    (tmp_path / "art" / "x" / "b.png").write_bytes(b"no picture any more")
    said: list[str] = []
    done = with_captions(works, str(tmp_path / "blip"), tmp_path / "cache", "cpu", said.append)
    assert [bool(w.caption) for w in done.works] == [True, False]
    assert "x/b.png" in said[0]


def test_a_real_captioning_model_gives_a_line(tmp_path: Path) -> None:
    """What a random BLIP says is nonsense; that it says it deterministically is the test."""
    words = write_captioner(tmp_path / "blip")
    picture = save(tmp_path / "x.png", coloured())
    captioner = captions.Captioner(str(tmp_path / "blip"), "cpu")
    assert captioner(picture) == captioner(picture)
    assert set(captioner(picture).split()) <= set(words)


def test_colour_words_name_plain_colours() -> None:
    swatches = torch.tensor([[1.0, -1, -1], [-1, -1, 1], [-0.95, -0.95, -0.95], [-1, 0.2, -1]])[..., None, None]
    words = colour_words(swatches.expand(4, 3, 4, 4))
    assert "red" in words[0]
    assert "blue" in words[1]
    assert words[2] == "dark grey"
    assert "green" in words[3]


@given(count=st.integers(1, 12), views=st.integers(1, 9), least=st.integers(8, 64), more=st.integers(0, 130))
def test_every_picture_is_seen_from_near_and_far_alike(count: int, views: int, least: int, more: int) -> None:
    """Or the scale of an artist's crops could be found again as a style; each picture's sides cover the whole range."""
    whole = least + more
    boxes = even_boxes(whole, count, views, np.random.default_rng([count, views, more]), least)
    sides = np.sort(np.stack([box[0] for box in boxes]), 0)
    edges = least + (more + 1) * np.arange(views + 1) / views
    assert (sides >= np.floor(edges[:-1, None])).all()
    assert (sides <= np.ceil(edges[1:, None])).all()
    for drawn, tops, lefts in boxes:
        assert (np.minimum(tops, lefts) >= 0).all()
        assert (np.maximum(tops, lefts) + drawn <= whole).all()


def test_crops_of_several_sizes_show_their_own_place() -> None:
    pixels = np.zeros((2, 64, 64, 3), np.uint8)
    pixels[0, :16, :16], pixels[1, 32:, 32:] = 255, 255
    seen = cut(pixels, np.array([16, 32]), np.array([0, 32]), np.array([0, 32]), 8)
    assert seen.shape == (2, 3, 8, 8)
    assert torch.allclose(seen, torch.ones_like(seen))
    assert cut(pixels, np.array([32, 64]), np.array([0, 0]), np.array([0, 0]), 8).mean(dim=(1, 2, 3))[0] < 0


def test_the_hash_of_a_mirrored_picture_is_the_mirrored_hash() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 48, 48, 3), np.uint8)
    own, other = difference_hash(pixels), difference_hash(pixels[:, :, ::-1].copy())
    assert ((mirrored(own) != other).sum(1) <= 1).all()  # but for neighbours of equal brightness
    assert (own != other).sum(1).mean() > 20
