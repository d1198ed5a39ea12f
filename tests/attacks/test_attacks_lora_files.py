"""Hostile and broken files: always a LoRA or a clear refusal, never another exception, a hang or a large allocation."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import socket
import tempfile
import time
import zipfile
from pathlib import Path

import lora_writing as writing
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.errors import MalformedFile, NotALora, NotAuditable
from auditor.lora import load_lora, read_artifact
from auditor.lora.inspect import inspect

PATH = "lora_unet_mid_block_attentions_0_proj_in"


def entry(shape: list[object], begin: object, end: object, dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def header(**tensors: object) -> bytes:
    return json.dumps({f"{PATH}.lora_{name}.weight": value for name, value in tensors.items()}).encode()


GOOD = {"down": entry([1, 4], 0, 16), "up": entry([4, 1], 16, 32)}
DATA = np.ones(8, "<f4").tobytes()
HEADERS: dict[str, tuple[bytes, bytes, str]] = {
    "overlap": (header(down=entry([1, 4], 0, 16), up=entry([4, 1], 8, 24)), DATA[:24], "overlaps"),
    "alias": (header(down=entry([1, 4], 0, 16), up=entry([4, 1], 0, 16)), DATA[:16], "overlaps"),
    "hole": (header(down=entry([1, 4], 0, 16), up=entry([4, 1], 20, 36)), DATA + b"abcd", "hole"),
    "rest": (header(**GOOD), DATA + b"more", "after its last tensor"),
    "truncated": (header(**GOOD), DATA[:20], "truncated: 1 of its 2"),
    "lying shape": (header(down=entry([1, 4], 0, 16), up=entry([4, 2], 16, 32)), DATA, "by its shape"),
    "huge shape": (header(down=entry([2**50, 2**50], 0, 16), up=entry([4, 1], 16, 32)), DATA, "by its shape"),
    "negative shape": (header(down=entry([-1, -4], 0, 16), up=entry([4, 1], 16, 32)), DATA, "no valid shape"),
    "float shape": (header(down=entry([1.0, 4], 0, 16), up=entry([4, 1], 16, 32)), DATA, "no valid shape"),
    "true as a size": (header(down=entry([True, 4], 0, 16), up=entry([4, 1], 16, 32)), DATA, "no valid shape"),
    "reversed offsets": (header(down=entry([1, 4], 16, 0), up=entry([4, 1], 16, 32)), DATA, "no valid offsets"),
    "far offsets": (header(down=entry([1, 4], 2**62, 2**62 + 16)), DATA, "no valid offsets"),
    "unknown format": (header(down=entry([1, 4], 0, 16, "F4")), DATA, "number format"),
    "format of another kind": (header(down=entry([1, 4], 0, 16, ["F32"])), DATA, "number format"),
    "many dimensions": (header(down=entry([1] * 99, 0, 4)), DATA, "no valid shape"),
    "entry is a list": (header(down=[1]), DATA, "lacks"),
    "metadata nested": (b'{"__metadata__":{"a":{"b":"c"}}}', b"", "not all text"),
    "duplicate tensor": (b'{"a":1,"a":2}', b"", "twice"),
    "duplicate in metadata": (b'{"__metadata__":{"a":"1","a":"2"}}', b"", "twice"),
    "NaN": (b'{"a":NaN}', b"", "NaN"),
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"", "nested too deeply"),
    "deep objects": (b'{"a":' * 15_000 + b"1" + b"}" * 15_000, b"", "nested too deeply"),
    "junk after": (b'{"a":1} x', b"", "no valid JSON"),
    "not UTF-8": (b'{"\xff":1}', b"", "no valid JSON"),
    "lone surrogate": (b'{"\\ud800":1}', b"", "no valid JSON"),
    "endless number": (b'{"a":' + b"9" * 10_000 + b"}", b"", "no valid JSON"),
    "many objects": (b'{"a":[' + b"{}," * 300_000 + b"{}]}", b"", "more than"),
    "no tensors": (b"{ }", b"", "holds no tensors"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_headers(name: str, tmp_path: Path) -> None:
    head, data, message = HEADERS[name]
    path = tmp_path / "x.safetensors"
    path.write_bytes(writing.raw_file(head, data))
    with pytest.raises(NotAuditable, match=message) as caught:
        load_lora(path)
    assert caught.value.advice
    assert len(str(caught.value)) < 1000


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (os.path.join(tempfile.gettempdir(), "a-pickle-was-run"),)


def torch_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(), 2))
    return out.getvalue()


FOREIGN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "a line break": (b"\r\n", "text"),
    "web page": (b"<!DOCTYPE html><html><body>Log in</body></html>", "web page"),
    "web page after a mark": (b"\xef\xbb\xbf\n <html>", "web page"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git-lfs pointer"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(40), "GGUF"),
    "text": (b"please find the weights attached" * 9, "text"),
    "pickle": (pickle.dumps(Bomb(), 2), "pickle"),
    "torch zip": (torch_zip(), "zip|pickle|torch"),
    "empty zip": (b"PK\x05\x06" + bytes(18), "archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(40), "archive"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "picture"),
    "noise": (bytes(range(128, 256)) * 4, "no safetensors"),
    "header beyond the file": (writing.raw_file(b"{}")[:8].replace(b"\x02", b"\xff") + b"{}", "truncated"),
    "header of a terabyte": ((2**40).to_bytes(8, "little") + b"{" + bytes(50), "declares a header"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_no_container_is_named(name: str, tmp_path: Path) -> None:
    content, message = FOREIGN[name]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    for reader in (load_lora, inspect):
        with pytest.raises((MalformedFile, NotALora), match=message) as caught:
            reader(path)
        assert caught.value.advice
    assert not os.path.exists(os.path.join(tempfile.gettempdir(), "a-pickle-was-run"))


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)
        server.bind("socket")
        os.chdir(here)
        names = ["pipe", "loop", "dangling", "socket", ".", "missing", "a\0b", "x" * 5000]
        for name in names:
            for reader in (load_lora, read_artifact, inspect):
                with pytest.raises(MalformedFile):
                    reader(os.path.join(tmp_path, name))
    with pytest.raises(MalformedFile, match="no regular file"):
        load_lora("/dev/zero")


def test_names_are_escaped_in_messages(tmp_path: Path) -> None:
    path = tmp_path / "evil\x1b[31m\u202e\n.safetensors"
    path.write_bytes(writing.raw_file(b'{"\\u001b]0;x\\u0007":[]}'))
    with pytest.raises(MalformedFile) as caught:
        load_lora(path)
    assert str(caught.value).isprintable()


def test_sparse_files_cost_nothing(tmp_path: Path) -> None:
    """A consistent header over a terabyte of holes is refused at once."""
    head = header(down=entry([2**20, 2**17], 0, 2**39), up=entry([2**17, 2**20], 2**39, 2**40))
    path = tmp_path / "x.safetensors"
    path.write_bytes(writing.raw_file(head))
    try:
        os.truncate(path, 8 + len(head) + 2**40)
    except OSError:
        pytest.skip("the file system has no sparse files of this size")
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for reader in (load_lora, read_artifact, inspect):
        with pytest.raises(NotAuditable):
            reader(path)
    assert time.monotonic() - started < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_rewritings_do_not_explode(tmp_path: Path) -> None:
    """A small LoKr or LoHa whose dense form would need gigabytes is listed as unread, not built."""
    side = np.ones((1024, 1024), np.float16)
    tensors = {f"{PATH}.lokr_w1": side, f"{PATH}.lokr_w2": side}
    tensors |= writing.kohya(writing.make({"unet.mid_block.attentions.0.proj_out": (64, 64)}))
    read = load_lora(writing.save(tmp_path / "a.safetensors", tensors))
    assert list(read.modules) == ["unet.mid_block.attentions.0.proj_out"]
    assert any("too large" in warning for warning in read.warnings)


def test_two_tensors_for_one_place(tmp_path: Path) -> None:
    lora = writing.make({"unet.mid_block.attentions.0.proj_in": (64, 64)})
    both = writing.kohya(lora) | writing.diffusers(lora)
    with pytest.raises(MalformedFile, match="same place"):
        load_lora(writing.save(tmp_path / "a.safetensors", both))


def test_many_unknown_names_are_quick(tmp_path: Path) -> None:
    names = (f"lora_unet_{'_'.join('a' * (i % 50 + 1))}_{i}.lora_down.weight" for i in range(20_000))
    path = tmp_path / "x.safetensors"
    path.write_bytes(writing.raw_file(json.dumps({name: entry([0], 0, 0) for name in names}).encode()))
    started = time.process_time()
    with pytest.raises(NotALora):
        load_lora(path)
    assert time.process_time() - started < 20


def test_many_patterns_cost_no_more_than_few(tmp_path: Path) -> None:
    """Every module asks all patterns of a configuration: that must not take their product."""
    lora = writing.make({f"unet.down_blocks.{i}.attentions.0.proj_in": (2, 2) for i in range(2_000)}, rank=1)
    pattern = {f"down_blocks.{i}.attentions.0.proj_in": 2 for i in range(100_000)} | {".*x" * 2: 3, ".*proj_out": 4}
    config = json.dumps({"unet.r": 1, "unet.lora_alpha": 1, "unet.alpha_pattern": pattern})
    path = writing.save(tmp_path / "x.safetensors", writing.diffusers_ab(lora), {"lora_adapter_metadata": config})
    started = time.process_time()
    read = load_lora(path)
    assert time.process_time() - started < 20
    assert {module.scale for module in read.modules.values()} == {2.0}
    assert any("regular expressions" in warning for warning in read.warnings)


CONFIGURATIONS = [
    *("[]", "{", '{"lora_alpha": "x"}', '{"lora_alpha": 1e999}', '{"lora_alpha": NaN}', '{"alpha_pattern": 3}'),
    *("[" * 100_000, '{"lora_alpha": ' + "9" * 5000 + "}"),
]


@pytest.mark.parametrize("config", CONFIGURATIONS)
def test_hostile_configurations(config: str, tmp_path: Path) -> None:
    lora = writing.make({"unet.mid_block.attentions.0.proj_in": (64, 64)})
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(MalformedFile):
        load_lora(writing.save(tmp_path / "adapter_model.safetensors", writing.peft(lora)))
    with pytest.raises(MalformedFile):
        load_lora(writing.save(tmp_path / "b.safetensors", writing.diffusers(lora), {"lora_adapter_metadata": config}))


def test_patterns_of_configurations_are_never_run(tmp_path: Path) -> None:
    lora = writing.make({"unet.mid_block.attentions.0.proj_in": (64, 64)})
    config = {"r": 4, "lora_alpha": 4, "alpha_pattern": {"(a+)+$" * 5: 8}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    read = load_lora(writing.save(tmp_path / "adapter_model.safetensors", writing.peft(lora)))
    assert any("regular expressions" in warning for warning in read.warnings)


def stored(program: bytes, storage: bytes = bytes(64), compression: int = zipfile.ZIP_STORED) -> bytes:
    """A torch file with this pickle and one storage."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", storage)
    return out.getvalue()


def tensor_program(
    name: str,
    shape: str | tuple[int, int],
    strides: str | tuple[int, int],
    offset: int = 0,
    call: str = "torch._utils\n_rebuild_tensor_v2",
) -> bytes:
    """A pickle of {name: tensor}; shape and strides are pairs of small numbers, as digits or below 256."""
    numbers = [b"K" + bytes([int(a)]) + b"K" + bytes([int(b)]) + b"\x86" for a, b in (shape, strides)]
    text = lambda s: b"X" + len(s).to_bytes(4, "little") + s.encode()  # noqa: E731
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x10tQ"
    body = b"c" + call.encode() + b"\n(" + storage + b"K" + bytes([offset]) + numbers[0] + numbers[1] + b"\x89NtR"
    return b"\x80\x02}" + text(name) + body + b"s."


ZIPS: dict[str, tuple[bytes, str]] = {
    "a call": (stored(pickle.dumps(Bomb(), 2)), "a call of posix.mkdir"),
    "a call in protocol 4": (stored(pickle.dumps({"a": Bomb()}, 4)), "a call of posix.mkdir"),
    "a class": (stored(b"\x80\x02cos\nsystem\n."), "without names"),
    "an object made": (stored(b"\x80\x02cos\nsystem\n)\x81."), "instruction NEWOBJ"),
    "another call": (stored(tensor_program("a", "22", "21", call="torch._utils\n_rebuild_wrapper")), "a call of torch"),
    "a great memo": (stored(b"\x80\x02}r\xff\xff\xff\x7f."), "holds no tensors"),
    "laughter": (stored(b"\x80\x02)" + b"2\x86" * 5000 + b"}" + b"s."), "instruction DUP"),
    "nested keys": (stored(b"\x80\x02})q\x00" + b"h\x00\x85q\x00" * 200 + b"s."), "damaged|entries|keys"),
    "beyond the storage": (stored(tensor_program("a", "55", "51")), "beyond its stored numbers"),
    "offset beyond": (stored(tensor_program("a", "22", "21", offset=14)), "beyond its stored numbers"),
    "repeated numbers": (stored(tensor_program("a", "44", "00")), "skip or repeat"),
    "skipped numbers": (stored(tensor_program("a", "22", "41")), "skip or repeat"),
    "compressed": (stored(tensor_program("a", "22", "21"), bytes(2**24), zipfile.ZIP_DEFLATED), "compressed"),
    "no layout": (torch_zip().replace(b"data.pkl", b"data.pxl"), "no single"),
    "cut": (stored(tensor_program("a", "22", "21"))[:-30], "directory"),
    "damaged pickle": (stored(b"\x80\x02}X\xff\xff\xff\x7f"), "damaged"),
    "empty pickle": (stored(b""), "damaged"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_hostile_torch_files(name: str, tmp_path: Path) -> None:
    content, message = ZIPS[name]
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(NotAuditable, match=message):
        load_lora(tmp_path / "x.bin")
    assert not os.path.exists(os.path.join(tempfile.gettempdir(), "a-pickle-was-run"))


def test_the_same_writer_makes_a_readable_torch_file(tmp_path: Path) -> None:
    down, up = (tensor_program(f"{PATH}.lora_{side}.weight", "22", "21") for side in ("down", "up"))
    both = down[:-1] + up[3:]
    (tmp_path / "x.bin").write_bytes(stored(both, np.arange(16, dtype="<f4").tobytes()))
    assert next(iter(load_lora(tmp_path / "x.bin").modules.values())).up.tolist() == [[0, 1], [2, 3]]


def torch_table(names: list[str]) -> bytes:
    """A pickle of tensors by these names, all of one storage of 100 × 100 numbers."""
    return b"".join([b"\x80\x02}", *(tensor_program(name, (100, 100), (100, 1))[3:-1] for name in names), b"."])


LAYER = torch_table([f"{PATH}.lora_{side}.weight" for side in ("down", "up")])
NUMBERS = np.ones(10_000, "<f4").tobytes()


def test_tensors_that_share_one_storage_a_thousand_times_are_refused(tmp_path: Path) -> None:
    numbers = np.ones(10_000, "<f4").tobytes()
    (tmp_path / "tied.bin").write_bytes(
        stored(torch_table([f"{PATH}.lora_{s}.weight" for s in ("down", "up")]), numbers)
    )
    assert load_lora(tmp_path / "tied.bin").modules
    many = [f"lora_unet_mid_block_attentions_{n}_proj_in.lora_down.weight" for n in range(200)]
    (tmp_path / "x.bin").write_bytes(stored(torch_table(many), NUMBERS))
    for read in (load_lora, inspect):
        with pytest.raises(MalformedFile, match="8000000 bytes together") as refused:
            read(tmp_path / "x.bin")
        assert ".safetensors" in refused.value.advice


def text(of: str) -> bytes:
    """A pickled string."""
    return b"X" + len(of.encode()).to_bytes(4, "little") + of.encode()


def inside(**tables: bytes) -> bytes:
    """A pickle of {name: table, …, 'epoch': 3} from pickles of tables."""
    pairs = [part for name, table in tables.items() for part in (text(name), table[2:-1], b"s")]
    return b"".join([b"\x80\x02}", *pairs, text("epoch"), b"K\x03s."])


@pytest.mark.parametrize("program", [inside(lora=LAYER), inside(run=inside(lora=LAYER)), inside(state_dict=LAYER)])
def test_the_only_table_of_tensors_is_read_wherever_it_lies(program: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(stored(program, NUMBERS))
    assert len(load_lora(tmp_path / "x.bin").modules) == 1


def test_of_several_tables_of_tensors_none_is_chosen(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(stored(inside(**{"lora": LAYER, "ema\x1b[31m": LAYER}), NUMBERS))
    with pytest.raises(NotALora, match=r"in 2 tables \('lora', 'ema\\\\x1b") as refused:
        load_lora(tmp_path / "x.bin")
    assert "\x1b" not in refused.value.message


def test_a_table_that_holds_itself_is_no_endless_one(tmp_path: Path) -> None:
    itself = b"\x80\x02}q\x00" + text("a") + b"h\x00s."
    (tmp_path / "x.bin").write_bytes(stored(itself))
    with pytest.raises(NotALora, match="holds no tensors"):
        load_lora(tmp_path / "x.bin")


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_mutated_torch_files_are_read_or_refused(edits: list[tuple[int, int]]) -> None:
    content = bytearray(stored(tensor_program(f"{PATH}.lora_down.weight", "22", "21")))
    for at, byte in edits:
        content[at % len(content)] = byte
    attempt(bytes(content))


def small_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        lora = writing.make({"unet.mid_block.attentions.0.proj_in": (6, 5)}, rank=2)
        tensors = writing.kohya(lora, 2.0) | {f"{PATH[:-2]}out.hada_w1_a": np.ones((2, 2), np.float32)}
        tensors = {k: v for k, v in tensors.items() if "hada" not in k} | {
            f"{PATH[:-2]}out.hada_w{n}_{s}": np.ones((2, 2), np.float32) for n in "12" for s in "ab"
        }
        return writing.save(Path(folder) / "x", tensors, {"ss_network_dim": "2"}).read_bytes()


SMALL = small_file()


def test_the_fuzzed_file_is_good_before(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(SMALL)
    assert len(load_lora(tmp_path / "x").modules) == 2


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=6),
       st.integers(0, 40), st.binary(max_size=8))  # fmt: skip
def test_mutated_files_are_read_or_refused(edits: list[tuple[int, int]], cut: int, tail: bytes) -> None:
    content = bytearray(SMALL)
    for at, byte in edits:
        content[at] = byte
    attempt(bytes(content[: len(content) - cut if cut > 30 else len(content)]) + (tail if cut % 3 == 1 else b""))


TOKENS = st.sampled_from(['"F16"', '"F64"', "0", "1", "-1", "2", "1e3", "null", "[]", "{}", '""', "true", "9" * 20,
                          '"alpha"', "lora_mid", "lora_up", "lokr_w1", "hada_t1", "diff", "dora_scale"])  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_headers_with_exchanged_words_are_read_or_refused(data: st.DataObject) -> None:
    """Words of the header are exchanged and its length is made right again, so that deeper checks are reached."""
    length = int.from_bytes(SMALL[:8], "little")
    words = SMALL[8 : 8 + length].decode().replace("lora_down", "\0").replace("[", "[ ").split(" ")
    for _ in range(data.draw(st.integers(1, 3))):
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(TOKENS)
    text = " ".join(words).replace("\0", data.draw(st.sampled_from(["lora_down", "lora_up", "diff"])))
    attempt(writing.raw_file(text.encode(), SMALL[8 + length :]))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(
    st.sampled_from(["lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha", "scale", "dora_scale", "diff",
                     "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "lokr_w1", "lokr_w1_a", "lokr_w1_b",
                     "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2", "w_norm"]),
    st.lists(st.integers(0, 4), max_size=5), max_size=7,
))  # fmt: skip
def test_any_shapes_are_read_or_refused(shapes: dict[str, list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tensors = {f"{PATH}.{role}": np.ones(shape, np.float32) for role, shape in shapes.items()}
        attempt(writing.save(Path(folder) / "x", tensors).read_bytes())


def attempt(content: bytes) -> None:
    """Read or refuse; what is read is finite and fits together."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(content)
        try:
            read = load_lora(path)
            inspect(path)
        except NotAuditable:
            return
    for module in read.modules.values():
        assert module.up.shape[1] == module.down.shape[0] >= 1
        assert np.isfinite(module.up).all()
        assert np.isfinite(module.down).all()
        assert np.isfinite(module.scale)


def lora_file(**tensors: np.ndarray) -> dict[str, np.ndarray]:
    """Tensors of one module."""
    return {f"{PATH}.{role.replace('__', '.')}": np.asarray(a, np.float32) for role, a in tensors.items()}


FACTORS = {"lora_down__weight": np.ones((1, 8)), "lora_up__weight": np.ones((8, 1))}
TRICKS: dict[str, dict[str, np.ndarray]] = {
    "alpha NaN": lora_file(**FACTORS, alpha=np.float32("nan")),
    "alpha infinite": lora_file(**FACTORS, alpha=np.float32("inf")),
    "alpha 1e30": lora_file(**FACTORS, alpha=np.float32(1e30)),
    "rank 0": lora_file(lora_down__weight=np.ones((0, 8)), lora_up__weight=np.ones((8, 0))),
    "no dimensions": lora_file(lora_down__weight=np.float32(1), lora_up__weight=np.float32(1)),
    "ranks that differ": lora_file(lora_down__weight=np.ones((2, 8)), lora_up__weight=np.ones((8, 3))),
    "factors that blow up": lora_file(lora_down__weight=np.full((1, 8), 1e30), lora_up__weight=np.ones((8, 1))),
}


@pytest.mark.parametrize("name", TRICKS)
def test_numbers_that_no_training_writes_are_refused(name: str, tmp_path: Path) -> None:
    path = writing.save(tmp_path / "x.safetensors", TRICKS[name])
    for reader in (load_lora, inspect):
        with pytest.raises(MalformedFile, match=PATH):
            reader(path)


def test_odd_but_well_formed_numbers_are_read(tmp_path: Path) -> None:
    """An alpha of 0 switches the module off; a rank above the dimensions is wasteful and no fault."""
    off = load_lora(writing.save(tmp_path / "off.safetensors", lora_file(**FACTORS, alpha=np.float32(0))))
    assert any("No effect" in warning for warning in off.warnings)
    wide = lora_file(lora_down__weight=np.ones((40, 8)), lora_up__weight=np.ones((6, 40)))
    path = writing.save(tmp_path / "wide.safetensors", wide)
    assert next(iter(load_lora(path).modules.values())).rank == 40
    assert inspect(path)["spectrum"]["largest"] == pytest.approx(40 * np.sqrt(48), rel=1e-6)


def test_a_million_tiny_tensors_are_refused_at_once(tmp_path: Path) -> None:
    pieces = [b'"%s.%d.lora_up.weight":{"dtype":"F16","shape":[0],"data_offsets":[0,0]}' % (PATH.encode(), i)
              for i in range(1_000_000)]  # fmt: skip
    path = tmp_path / "x.safetensors"
    path.write_bytes(writing.raw_file(b"{" + b",".join(pieces) + b"}"))
    limited(path)
    path.write_bytes(writing.raw_file(b"{" + b",".join(pieces[:60_000]) + b"}"))
    limited(path)


def test_a_header_of_a_hundred_megabytes_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(writing.raw_file(b'{"__metadata__":{"a":"' + b"x" * 100_000_000 + b'"}}'))
    limited(path)


def limited(path: Path) -> None:
    """Reading and inspecting end in a refusal within two seconds of work and half a gigabyte."""
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for reader in (load_lora, inspect):
        with pytest.raises(MalformedFile):
            reader(path)
    assert time.process_time() - started < 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000


def test_tricks_in_names_and_metadata_stay_text(tmp_path: Path) -> None:
    """Names are never paths, markup or terminal commands: they are listed as they are and read as unknown."""
    names = [
        "../../etc/passwd.lora_up.weight",
        "a\0b.lora_up.weight",
        "<script>x</script>.alpha",
        "=1+1.lora_up.weight",
    ]
    tensors = writing.kohya(writing.make({"unet.mid_block.attentions.0.proj_in": (6, 5)}))
    tensors |= {name: np.ones((1, 1), np.float32) for name in names}
    metadata = {"../x": "<img src=x onerror=y>", "\x1b[31m": "\u202e", "ss_tag_frequency": "{" * 999}
    path = writing.save(tmp_path / "x.safetensors", tensors, metadata)
    seen = inspect(path)
    assert set(names) <= set(seen["unread"]["names"])
    assert seen["declared"] == metadata
    assert all(warning.isprintable() for warning in seen["warnings"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.safetensors"]


def test_a_link_to_a_lora_is_read_and_a_renamed_pickle_is_not(tmp_path: Path) -> None:
    lora = writing.make({"unet.mid_block.attentions.0.proj_in": (6, 5)})
    writing.save(tmp_path / "real", writing.kohya(lora))
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "real")
    assert load_lora(tmp_path / "link.safetensors").modules
    (tmp_path / "renamed.safetensors").write_bytes(pickle.dumps(Bomb(), 2))
    with pytest.raises(MalformedFile, match="pickle"):
        load_lora(tmp_path / "renamed.safetensors")
    assert not os.path.exists(os.path.join(tempfile.gettempdir(), "a-pickle-was-run"))


def test_hidden_whole_matrices_stay_within_memory(tmp_path: Path) -> None:
    """Kronecker products are kept as their factors, so a small file cannot ask for gigabytes."""
    side = np.ones((90, 90), np.float16)
    names = [f"lora_unet_down_blocks_{i}_attentions_0_proj_in" for i in range(60)]
    tensors = {f"{name}.{role}": side for name in names for role in ("lokr_w1", "lokr_w2")}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = load_lora(writing.save(tmp_path / "a.safetensors", tensors))
    assert len(read.modules) + len(read.unread) // 2 == 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000
