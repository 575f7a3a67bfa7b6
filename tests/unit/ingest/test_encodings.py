"""A coded body comes out as it went in, or is refused before it takes more than its limit."""

import gzip
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import Malformed, TooLarge, UnsupportedMedia
from services.ingest.core.encodings import MOST_MEMBERS, Decoder

LIMIT = 1_000_000
TEXT = b'{"id": "1"}\n' * 50_000
CODED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "zstd": zstd.compress(TEXT),
    "identity": TEXT,
}


def decoded(coding: str, body: bytes, size: int = 1_000) -> bytes:
    decoder, out = Decoder(coding, LIMIT), bytearray()
    for place in range(0, len(body), size):
        for piece in decoder.feed(body[place : place + size]):
            out += piece
    decoder.end()
    return bytes(out)


@pytest.mark.parametrize("coding", CODED)
@pytest.mark.parametrize("size", [7, 1_000, 10_000_000])
def test_what_was_encoded_comes_out_however_it_is_cut(coding: str, size: int) -> None:
    assert decoded(coding, CODED[coding], size) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_several_members_are_one_body(coding: str) -> None:
    encode = gzip.compress if coding == "gzip" else zstd.compress
    assert decoded(coding, encode(b"a") + encode(b"") + encode(b"b"), 3) == b"ab"


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_of_members_without_end_so_many_are_begun_and_no_more(coding: str) -> None:
    one = (gzip.compress if coding == "gzip" else zstd.compress)(b"a")
    assert decoded(coding, one * MOST_MEMBERS, 10_000) == b"a" * MOST_MEMBERS
    with pytest.raises(Malformed, match="more than 2000 members") as refused:
        decoded(coding, one * (MOST_MEMBERS + 1), 10_000)
    assert refused.value.code == "malformed_encoding"


@pytest.mark.parametrize(
    ("coding", "bomb"),
    [("gzip", gzip.compress(bytes(200_000_000), 9)), ("zstd", zstd.compress(bytes(200_000_000)))],
    ids=["gzip", "zstd"],
)
def test_a_bomb_is_refused_before_it_takes_more_than_its_limit(coding: str, bomb: bytes) -> None:
    assert len(bomb) < 200_001
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge) as caught:
            decoded(coding, bomb, len(bomb))
        assert tracemalloc.get_traced_memory()[1] < 4 * LIMIT
    finally:
        tracemalloc.stop()
    assert (caught.value.status, caught.value.code) == (413, "too_large_decoded")


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "none of it", "trailing"])
def test_a_damaged_body_is_malformed(coding: str, damage: str) -> None:
    whole = CODED[coding] if coding == "gzip" else zstd.compress(
        TEXT, options=dict[int, int]({zstd.CompressionParameter.checksum_flag: 1})
    )  # fmt: skip
    middle = len(whole) // 2
    body = {
        "cut": whole[:-5],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 0x55]) + whole[middle + 1 :],
        "none of it": TEXT,
        "trailing": whole + b"more",
    }[damage]
    with pytest.raises(Malformed) as caught:
        decoded(coding, body)
    assert (caught.value.status, caught.value.code) == (400, "malformed_encoding")


@pytest.mark.parametrize("coding", ["br", "gzip, zstd", "deflate", "x" * 5_000])
def test_an_unknown_coding_is_refused_naming_those_that_are_known(coding: str) -> None:
    with pytest.raises(UnsupportedMedia) as caught:
        Decoder(coding, LIMIT)
    body = caught.value.body()
    assert (body["status"], body["code"]) == (415, "unsupported_encoding")
    assert body["accepted"] == ["gzip", "zstd", "identity"]


def test_a_frame_that_asks_for_a_large_window_is_refused() -> None:
    wide: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    compressor = zstd.ZstdCompressor(options=wide)  # its size is not known beforehand: the window stays
    body = compressor.compress(TEXT) + compressor.flush()
    with pytest.raises(Malformed):
        decoded("zstd", body)


@given(st.binary(max_size=500), st.sampled_from(["gzip", "zstd"]))
def test_no_bytes_raise_anything_else(body: bytes, coding: str) -> None:
    with suppress(Malformed):
        decoded(coding, body, 50)


@given(st.binary(max_size=5_000))
def test_gzip_of_the_standard_library_and_zlib_agree(body: bytes) -> None:
    assert decoded("gzip", gzip.compress(body)) == zlib.decompress(gzip.compress(body), 31) == body
